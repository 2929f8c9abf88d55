package apply

import "time"

// fight counts the repairs of an object that does not stay repaired.
type fight struct {
	repairs int
	last    time.Time
}

const (
	freeRepairs = 3                      // made at once
	firstPause  = 100 * time.Millisecond // before the next one; doubles with each
	quiet       = time.Minute            // without a repair ends the fight
	maxFights   = 10_000                 // remembered; forgetting only means being quick again
)

// pause says how long the next repair has to wait: nothing at first; when the
// object drifts again and again somebody insists, and each further repair waits
// twice as long, up to 7 minutes, until it was quiet for a while.
func (f fight) pause(now time.Time) time.Duration {
	wait := firstPause << min(max(f.repairs-freeRepairs, 0), 12)
	if f.repairs < freeRepairs || now.Sub(f.last) > max(quiet, 2*wait) {
		return 0
	}
	return wait
}

// fightPause says how long the next repair of an object has to wait.
func (c *Cluster) fightPause(it item) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fights[it].pause(time.Now())
}

// repaired counts a repair that changed something.
func (c *Cluster) repaired(it item) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, f := time.Now(), c.fights[it]
	if f.repairs >= freeRepairs && f.pause(now) == 0 {
		f.repairs = 0
	}
	if len(c.fights) > maxFights {
		clear(c.fights)
	}
	c.fights[it] = fight{f.repairs + 1, now}
}
