package client

// largeBuffer is the size from which a buffer is not kept for what comes later.
const largeBuffer = 1 << 20

// A failure is why an attempt to connect failed or a connection ended.
type failure struct {
	cause Cause
	err   error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }
