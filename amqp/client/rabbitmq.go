package client

import "github.com/linkspan/linkspan/amqp/frame"

// isRabbit3 reports whether a broker is RabbitMQ before version 4, which reads two things of the standard in its own way:
//
//   - It takes the credit that it is told as if it had nothing on its way to us, whatever the delivery-count beside it says, and
//     so sends more than it may [AMQP 2.6.7].
//   - It makes a queue for an address that it does not know, and what a link says of its terminus's durability holds for that queue
//     [AMQP 3.5.5]: what it accepts for a queue that is not durable is gone when it restarts.
func isRabbit3(o *frame.Open) bool {
	product, _ := o.Properties.Get("product").Text()
	version, _ := o.Properties.Get("version").Text()
	return product == "RabbitMQ" && len(version) > 1 && version[1] == '.' && version[0] < '4'
}

// madeByRabbit3 is the durability of a terminus at RabbitMQ 3, for the queue that it may make.
func (c *Config) madeByRabbit3() uint32 {
	if c.Durable {
		return frame.DurableConfiguration
	}
	return frame.DurableNone
}
