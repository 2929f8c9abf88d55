package provider

import (
	"container/list"
	"sync"

	eventv1 "github.com/fluxcd/pkg/apis/event/v1beta1"
)

// maxTold bounds what is remembered; the one that was used least recently
// goes first.
const maxTold = 4096

// told is what a Provider was told last about an object.
type told struct {
	key      string
	revision string // that the object was last said to be well at
	thread   string // in which its trouble is told; "" when there is none
}

// memory remembers, for the life of the process, what messages refer back
// to. Its zero value is ready; it is safe for concurrent use.
type memory struct {
	mu    sync.Mutex
	at    map[string]*list.Element
	order list.List // the most recently used first
}

// of returns what is known of the object of an event at a Provider.
func (i *memory) of(provider string, event *eventv1.Event) told {
	o := event.InvolvedObject
	key := provider + "/" + o.Kind + "/" + o.Namespace + "/" + o.Name
	i.mu.Lock()
	defer i.mu.Unlock()
	if e := i.at[key]; e != nil {
		i.order.MoveToFront(e)
		return e.Value.(told)
	}
	return told{key: key}
}

func (i *memory) put(k told) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if e := i.at[k.key]; e != nil {
		e.Value = k
		i.order.MoveToFront(e)
		return
	}
	if i.at == nil {
		i.at = map[string]*list.Element{}
	}
	i.at[k.key] = i.order.PushFront(k)
	if last := i.order.Back(); i.order.Len() > maxTold {
		delete(i.at, i.order.Remove(last).(told).key)
	}
}
