package route

import "encoding/binary"

// murmur2 is the hash by which Kafka's own clients choose a partition for a key, so that a number computed from it here
// is the same that a Java program computes (KAL-A6).
func murmur2(data string) uint32 {
	const m = 0x5bd1e995
	h := uint32(0x9747b28c) ^ uint32(len(data))
	for ; len(data) >= 4; data = data[4:] {
		var word [4]byte
		copy(word[:], data)
		k := binary.LittleEndian.Uint32(word[:]) * m
		k ^= k >> 24
		h = h*m ^ k*m
	}
	switch len(data) {
	case 3:
		h ^= uint32(data[2]) << 16
		fallthrough
	case 2:
		h ^= uint32(data[1]) << 8
		fallthrough
	case 1:
		h = (h ^ uint32(data[0])) * m
	}
	h = (h ^ h>>13) * m
	return h ^ h>>15
}

// logicalPartition is Kafka's way from a hash to one of n partitions.
func logicalPartition(value string, n uint32) uint32 { return murmur2(value) & 0x7fffffff % n }
