package artifact

import "syscall"

// changed is the time of the last change of a file or of what is known of it, in
// nanoseconds.
func changed(st *syscall.Stat_t) int64 { return st.Ctim.Nano() }
