package wish

import (
	"fmt"
	"strconv"
	"strings"
)

// Guard says from which share of the inventory on a deletion is held back. The
// zero value holds nothing back.
type Guard struct {
	on    bool
	share int // percent; 100 means that nothing is left
}

// ParseGuard reads "empty", which is for builds that leave nothing, or a share
// in percent such as "50%", which is for those that drop more. "off" and "" are
// no guard.
func ParseGuard(text string) (Guard, error) {
	switch text {
	case "", "off":
		return Guard{}, nil
	case "empty":
		return Guard{on: true, share: 100}, nil
	}
	digits, ok := strings.CutSuffix(text, "%")
	share, err := strconv.Atoi(digits)
	if !ok || err != nil || share < 0 || share > 100 {
		return Guard{}, fmt.Errorf("%q is neither \"empty\" nor a share such as \"50%%\" nor \"off\"", text)
	}
	return Guard{on: true, share: share}, nil
}

// Stops reports whether the deletion of so many of the objects is held back.
func (g Guard) Stops(inventory, dropped int) bool {
	switch {
	case !g.on || inventory == 0 || dropped == 0:
		return false
	case dropped >= inventory:
		return true
	}
	return dropped*100 > g.share*inventory
}
