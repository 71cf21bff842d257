package client

import "time"

// SetQuiet changes how long a session has to be quiet to be taken to be empty.
func (c *Client) SetQuiet(d time.Duration) { c.quiet = d }
