package wish

import (
	"fmt"
	"strings"
	"time"
)

// Windows are times of a week. They are open when one of them is.
type Windows []Window

// Window is a time of some days of the week, in a time zone.
type Window struct {
	days     [7]bool
	from, to int // minutes since midnight; to is on the next day when it is not after from
	zone     *time.Location
}

var days = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

const maxWindows = 20

// ParseWindows reads windows separated by semicolons, each like
// "Mon-Fri 09:00-17:00 Europe/Berlin" or "Sat,Sun 22:00-04:00". The zone is UTC
// when none is given. A window that ends before it begins ends on the next day.
func ParseWindows(text string) (Windows, error) {
	var all Windows
	for part := range strings.SplitSeq(text, ";") {
		w, err := parseWindow(part)
		if err != nil {
			return nil, err
		}
		if all = append(all, w); len(all) > maxWindows {
			return nil, fmt.Errorf("there are more than %d windows", maxWindows)
		}
	}
	return all, nil
}

func parseWindow(text string) (w Window, err error) {
	fields := strings.Fields(text)
	if len(fields) != 2 && len(fields) != 3 {
		return w, fmt.Errorf("%q is not of the form \"Mon-Fri 09:00-17:00 Europe/Berlin\"", strings.TrimSpace(text))
	}
	if w.days, err = parseDays(fields[0]); err != nil {
		return w, err
	}
	from, to, ok := strings.Cut(fields[1], "-")
	if w.from, err = parseClock(from); err != nil || !ok {
		return w, fmt.Errorf("%q is not a time such as 09:00-17:00", fields[1])
	}
	if w.to, err = parseClock(to); err != nil {
		return w, fmt.Errorf("%q is not a time such as 09:00-17:00", fields[1])
	}
	w.zone = time.UTC
	if len(fields) == 3 {
		if w.zone, err = time.LoadLocation(fields[2]); err != nil || fields[2] == "Local" {
			return w, fmt.Errorf("%q is not a time zone such as Europe/Berlin", fields[2])
		}
	}
	return w, nil
}

func parseDays(text string) (set [7]bool, err error) {
	for part := range strings.SplitSeq(strings.ToLower(text), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, to := day(first), day(last)
		if from < 0 || to < 0 {
			return set, fmt.Errorf("%q is not a day such as Mon, or days such as Mon-Fri", part)
		}
		for d := from; ; d = (d + 1) % 7 {
			set[d] = true
			if d == to {
				break
			}
		}
	}
	return set, nil
}

func day(name string) int {
	for i, d := range days {
		if d == name {
			return i
		}
	}
	return -1
}

// parseClock reads minutes since midnight. 24:00 is the end of a day.
func parseClock(text string) (int, error) {
	if text == "24:00" {
		return 24 * 60, nil
	}
	at, err := time.Parse("15:04", text)
	return at.Hour()*60 + at.Minute(), err
}

// Open reports whether a new revision may be applied now, and if not, when the
// next window opens.
func (all Windows) Open(now time.Time) (open bool, next time.Time) {
	if len(all) == 0 {
		return true, now
	}
	for _, w := range all {
		for ahead := -1; ahead <= 7; ahead++ {
			from, to, ok := w.on(now, ahead)
			switch {
			case !ok || !now.Before(to):
			case !now.Before(from):
				return true, now
			case next.IsZero() || from.Before(next):
				next = from
			}
		}
	}
	return false, next
}

// on returns the window of the day that is so many days after now, if there is
// one. Days are those of the calendar, so that a change of summer time moves
// nothing.
func (w Window) on(now time.Time, ahead int) (from, to time.Time, ok bool) {
	y, m, d := now.In(w.zone).Date()
	at := func(minutes int) time.Time { return time.Date(y, m, d+ahead, 0, minutes, 0, 0, w.zone) }
	to = at(w.to)
	if w.to <= w.from {
		to = at(w.to + 24*60)
	}
	return at(w.from), to, w.days[at(12*60).Weekday()]
}
