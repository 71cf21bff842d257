package client

// CheckFiles reads the files that c names, and returns what is wrong with them.
func (c *Config) CheckFiles() error {
	_, err := c.TLS.Load("")
	return err
}
