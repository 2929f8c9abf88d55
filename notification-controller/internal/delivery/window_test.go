package delivery

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// said is an event of one object: "-" and a text for a failure, "+" and a text
// when all is well.
func said(text string) Job {
	j := job("a", map[byte]string{'-': "error", '+': "info"}[text[0]], 0)
	j.Fold = time.Minute
	j.Event.Message = text
	j.Event.InvolvedObject = corev1.ObjectReference{Kind: "Kustomization", Namespace: "ns", Name: "app"}
	return j
}

// short is the first line of a message and the number of events folded in it.
func short(j *Job) string {
	first, _, _ := strings.Cut(j.Event.Message, "\n")
	if n := j.Event.Metadata[foldedKey]; n != "" {
		first += "*" + n
	}
	return first
}

// In a script, a dot is the end of the window that is open then.
func TestWindows(t *testing.T) {
	for name, tt := range map[string]struct{ script, want string }{
		"one failure":                   {"-a .", "-a"},
		"repeats become one with count": {"-a -a -a -a .", "-a | -a*3"},
		"and so in each window":         {"-a -a . -a -a . .", "-a | -a*1 | -a*2"},
		"failure and recovery":          {"-a +b .", "-a +b"},
		"recovery is told once":         {"-a +b +b +b . +b", "-a +b | +b"}, // the window is gone, and the limit on repeats holds
		"recovery after repeats":        {"-a -a -a +b .", "-a +b*2"},
		"a flapping object":             {"-a +b -a +b -a +b -a +b .", "-a +b | +b*6"},
		"that ends badly":               {"-a +b -a +b -a .", "-a +b | -a*3"},
		"and goes on":                   {"-a +b -a +b . -a +b -a +b . .", "-a +b | +b*2 | +b*4"},
		"and then stays well":           {"-a +b -a +b . . -a", "-a +b | +b*2 | -a"},
		"well, failing, well":           {"+a -b +a .", "+a -b +a"},
		"other words are news":          {"-a -b -c .", "-a -b -c"},
		"but not without end":           {"-a -b -c -d -e -f -g .", "-a -b -c -d -e | -g*2"},
		"other news when all is well":   {"+a +b +a .", "+a +b"},
		"recovery in the next window":   {"-a -a . +b .", "-a | -a*1 +b"},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Unix(0, 0)
			f := newFolder(func() time.Time { return now })
			var got []string
			for _, step := range strings.Fields(tt.script) {
				var jobs []Job
				if step == "." {
					now = now.Add(time.Minute)
					if ended, _ := f.due(); len(ended) > 0 {
						jobs, _ = f.end(ended[0])
					}
					got = append(got, "|")
				} else {
					jobs, _ = f.take([]Job{said(step)})
				}
				for _, j := range jobs {
					got = append(got, short(&j))
				}
			}
			text := strings.Trim(strings.Join(got, " "), " |")
			if text != tt.want {
				t.Errorf("told %s\nwant %s", text, tt.want)
			}
		})
	}
}

func TestWindowsKeepApart(t *testing.T) {
	f := newFolder(time.Now)
	var jobs []Job
	for _, edit := range []func(*Job){
		func(*Job) {},
		func(j *Job) { j.Event.InvolvedObject.Name = "other" },
		func(j *Job) { j.Event.InvolvedObject.Namespace = "other" },
		func(j *Job) { j.Event.InvolvedObject.Kind = "GitRepository" },
		func(j *Job) { j.Alert.Name = "other" },
		func(j *Job) { j.Event.Metadata = map[string]string{"revision": "2"} },
		func(j *Job) { j.Fold = 0 }, // as told by an Alert that does not fold
	} {
		j := said("-a")
		edit(&j)
		jobs = append(jobs, j)
	}
	if tell, _ := f.take(jobs); len(tell) != len(jobs) {
		t.Errorf("%d of %d were told", len(tell), len(jobs))
	}
}

func TestRefusedRepeatsAreCounted(t *testing.T) {
	now := time.Unix(0, 0)
	f := newFolder(func() time.Time { return now })
	f.repeat([]Job{said("-a")}) // no window is open: nothing to count for
	f.take([]Job{said("-a")})
	f.repeat([]Job{said("-a")})
	f.repeat([]Job{said("-a")})
	f.repeat([]Job{said("-other")}) // was not told: it is none of this window's
	now = now.Add(time.Minute)
	ended, _ := f.due()
	if jobs, _ := f.end(ended[0]); len(jobs) != 1 || short(&jobs[0]) != "-a*2" {
		t.Errorf("told %v", jobs)
	}
}

func TestWindowsAreBounded(t *testing.T) {
	f := newFolder(time.Now)
	told := 0
	for i := range maxWindows + 100 {
		j := said("-a")
		j.Event.InvolvedObject.Name = fmt.Sprint(i)
		for range 2 {
			tell, _ := f.take([]Job{j})
			told += len(tell)
		}
	}
	if len(f.windows) != maxWindows || told != maxWindows+200 {
		t.Errorf("%d windows, %d told; want %d, and everything above to be told", len(f.windows), told, maxWindows)
	}
	long := said("-" + strings.Repeat("x", maxMessage))
	out := folded(&long, 7, 3, time.Minute, "until")
	if n := len([]rune(out.Event.Message)); n != maxMessage || !strings.HasSuffix(out.Event.Message, "3 more times") {
		t.Errorf("a message of %d characters ends %q", n, out.Event.Message[len(out.Event.Message)-40:])
	}
}

// What was folded when the process ends is told by the next one.
func TestWindowsSurviveTheProcess(t *testing.T) {
	dir, now := t.TempDir(), time.Unix(1000, 0)
	got := make(chan string, 10)
	o := Options{Dir: dir, Now: func() time.Time { return now }, Send: func(_ context.Context, j *Job) error { got <- short(j); return nil }}
	q := open(t, o)
	for _, text := range []string{"-a", "-a", "-a"} {
		add(t, q, said(text))
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	q = open(t, o)
	stop := start(t, q)
	if first, second := <-got, <-got; first != "-a" || second != "-a*2" {
		t.Errorf("told %s, %s", first, second)
	}
	stop()
	now = now.Add(time.Hour)
	q = open(t, o)
	stop = start(t, q)
	add(t, q, said("-z"))
	if m := <-got; m != "-z" {
		t.Errorf("told %s: a window was told twice", m)
	}
	stop()
}
