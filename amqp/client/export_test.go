package client

import "time"

// SetCaution changes how long a sender is wary of what may have been under way when something was given back.
func (c *Client) SetCaution(d time.Duration) { c.out.caution = d }
