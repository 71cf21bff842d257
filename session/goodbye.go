package session

// DropWill deletes the will: the device said goodbye, and its connection ends later [MQTT-3.1.2-10].
func (s *Session) DropWill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.will = nil
}
