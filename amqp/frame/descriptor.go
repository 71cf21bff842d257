package frame

import "encoding/binary"

// Descriptor is the numeric descriptor of a type that the specification describes, its low 32 bits: the high ones, the
// domain, are 0.
type Descriptor uint64

// The descriptors of performatives [AMQP 2.7], outcomes and other delivery states [AMQP 3.4, 4.5], terminuses [AMQP 3.5],
// message sections [AMQP 3.2] and SASL frames [AMQP 5.3.3].
const (
	CodeOpen        Descriptor = 0x10
	CodeBegin       Descriptor = 0x11
	CodeAttach      Descriptor = 0x12
	CodeFlow        Descriptor = 0x13
	CodeTransfer    Descriptor = 0x14
	CodeDisposition Descriptor = 0x15
	CodeDetach      Descriptor = 0x16
	CodeEnd         Descriptor = 0x17
	CodeClose       Descriptor = 0x18

	CodeError Descriptor = 0x1D

	CodeReceived           Descriptor = 0x23
	CodeAccepted           Descriptor = 0x24
	CodeRejected           Descriptor = 0x25
	CodeReleased           Descriptor = 0x26
	CodeModified           Descriptor = 0x27
	CodeSource             Descriptor = 0x28
	CodeTarget             Descriptor = 0x29
	CodeCoordinator        Descriptor = 0x30
	CodeDeclare            Descriptor = 0x31
	CodeDischarge          Descriptor = 0x32
	CodeDeclared           Descriptor = 0x33
	CodeTransactionalState Descriptor = 0x34

	CodeSASLMechanisms Descriptor = 0x40
	CodeSASLInit       Descriptor = 0x41
	CodeSASLChallenge  Descriptor = 0x42
	CodeSASLResponse   Descriptor = 0x43
	CodeSASLOutcome    Descriptor = 0x44

	CodeHeader                Descriptor = 0x70
	CodeDeliveryAnnotations   Descriptor = 0x71
	CodeMessageAnnotations    Descriptor = 0x72
	CodeProperties            Descriptor = 0x73
	CodeApplicationProperties Descriptor = 0x74
	CodeData                  Descriptor = 0x75
	CodeSequence              Descriptor = 0x76
	CodeValue                 Descriptor = 0x77
	CodeFooter                Descriptor = 0x78
)

// descriptors are the symbolic descriptors, which a peer may send in place of the numeric ones.
var descriptors = map[string]Descriptor{
	"amqp:open:list": CodeOpen, "amqp:begin:list": CodeBegin, "amqp:attach:list": CodeAttach, "amqp:flow:list": CodeFlow,
	"amqp:transfer:list": CodeTransfer, "amqp:disposition:list": CodeDisposition, "amqp:detach:list": CodeDetach,
	"amqp:end:list": CodeEnd, "amqp:close:list": CodeClose, "amqp:error:list": CodeError,
	"amqp:received:list": CodeReceived, "amqp:accepted:list": CodeAccepted, "amqp:rejected:list": CodeRejected,
	"amqp:released:list": CodeReleased, "amqp:modified:list": CodeModified,
	"amqp:source:list": CodeSource, "amqp:target:list": CodeTarget, "amqp:coordinator:list": CodeCoordinator,
	"amqp:declare:list": CodeDeclare, "amqp:discharge:list": CodeDischarge, "amqp:declared:list": CodeDeclared,
	"amqp:transactional-state:list": CodeTransactionalState,
	"amqp:sasl-mechanisms:list":     CodeSASLMechanisms, "amqp:sasl-init:list": CodeSASLInit,
	"amqp:sasl-challenge:list": CodeSASLChallenge, "amqp:sasl-response:list": CodeSASLResponse,
	"amqp:sasl-outcome:list": CodeSASLOutcome,
	"amqp:header:list":       CodeHeader, "amqp:delivery-annotations:map": CodeDeliveryAnnotations,
	"amqp:message-annotations:map": CodeMessageAnnotations, "amqp:properties:list": CodeProperties,
	"amqp:application-properties:map": CodeApplicationProperties, "amqp:data:binary": CodeData,
	"amqp:amqp-sequence:list": CodeSequence, "amqp:amqp-value:*": CodeValue, "amqp:footer:map": CodeFooter,
}

// DescriptorOf returns the descriptor of the described value that b begins with, such as the body of a frame: numeric, or
// what the symbolic one stands for. One that the specification does not have is an error, or a number of no constant.
func DescriptorOf(b []byte) (Descriptor, error) {
	d, _, err := cutDescriptor(b)
	return d, err
}

// cutDescriptor takes the descriptor of a described value off b, which is a small number but for few peers.
func cutDescriptor(b []byte) (d Descriptor, rest []byte, err error) {
	if len(b) > 2 && b[0] == codeDescribed && b[1] == codeSmallUlong {
		return Descriptor(b[2]), b[3:], nil
	}
	return cutAnyDescriptor(b)
}

func cutAnyDescriptor(b []byte) (d Descriptor, rest []byte, err error) {
	switch {
	case len(b) > 0 && b[0] != codeDescribed:
		return 0, nil, errDescribed
	case len(b) < 2:
		return 0, nil, errShort
	}
	code, b := b[1], b[2:]
	n := width(code, b)
	if n < 0 {
		return 0, nil, errShort
	}
	switch code {
	case codeSmallUlong:
		return Descriptor(b[0]), b[1:], nil
	case codeUlong:
		return Descriptor(binary.BigEndian.Uint64(b)), b[8:], nil
	case codeSymbol8, codeSymbol32:
		if d, ok := descriptors[string(content(code, b[:n]))]; ok {
			return d, b[n:], nil
		}
	}
	return 0, nil, errDescriptor
}
