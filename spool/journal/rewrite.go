package journal

// chores deletes what is settled, rewrites what nearly is, answers requests, and looks how much room there is.
func (j *Journal) chores() error {
	j.measure()
	return j.keep.store(j, true)
}
