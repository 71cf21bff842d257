package client

import "time"

// SetPatience changes how long a session has to be quiet to be taken to be empty, and how long the broker may take to close after a goodbye.
func (c *Client) SetPatience(d time.Duration) { c.quiet, c.farewell = d, d }
