//go:build !unix

package journal

import "os"

// syncDir does nothing: directories cannot be synced here.
func syncDir(string) error { return nil }

// lockFile does nothing: it is on the operator that one process alone has the directory.
func lockFile(*os.File) error { return nil }
