package packet

// ValidText checks that s is a string that MQTT can carry: well-formed UTF-8 [MQTT-1.5.4-1] without U+0000
// [MQTT-1.5.4-2], at most 65,535 bytes.
func ValidText[T string | []byte](s T) error { panic("soon") }

// ValidTopicName checks that s can be the topic of a message: text of at least one character without wildcards.
func ValidTopicName[T string | []byte](s T) error { panic("soon") }

// ValidFilter checks that s can be subscribed to: text of at least one character where each wildcard stands alone
// in its level, and # only in the last. A shared subscription ($share/NAME/FILTER) must have its parts.
func ValidFilter[T string | []byte](s T) error { panic("soon") }
