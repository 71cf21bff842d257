package frame

// Error is what went wrong, as AMQP says it to the peer [AMQP 2.8.14], and what the decoders return. Those of the decoders
// are shared: they are not to be written to.
type Error struct {
	Condition   Symbol // "": there is no error
	Description string // for people; "": none
	Info        Map    // nil: none
}

// Error returns description and condition.
func (e *Error) Error() string {
	if e.Description == "" {
		return string(e.Condition)
	}
	return string(e.Condition) + ": " + e.Description
}

// The conditions of every kind of error [AMQP 2.8.15].
const (
	InternalError         Symbol = "amqp:internal-error"
	NotFound              Symbol = "amqp:not-found"
	UnauthorizedAccess    Symbol = "amqp:unauthorized-access"
	DecodeError           Symbol = "amqp:decode-error"
	ResourceLimitExceeded Symbol = "amqp:resource-limit-exceeded"
	NotAllowed            Symbol = "amqp:not-allowed"
	InvalidField          Symbol = "amqp:invalid-field"
	NotImplemented        Symbol = "amqp:not-implemented"
	ResourceLocked        Symbol = "amqp:resource-locked"
	PreconditionFailed    Symbol = "amqp:precondition-failed"
	ResourceDeleted       Symbol = "amqp:resource-deleted"
	IllegalState          Symbol = "amqp:illegal-state"
	FrameSizeTooSmall     Symbol = "amqp:frame-size-too-small"
)

// The conditions of a connection [AMQP 2.8.16].
const (
	ConnectionForced   Symbol = "amqp:connection:forced"
	FramingError       Symbol = "amqp:connection:framing-error"
	ConnectionRedirect Symbol = "amqp:connection:redirect"
)

// The conditions of a session [AMQP 2.8.17].
const (
	WindowViolation  Symbol = "amqp:session:window-violation"
	ErrantLink       Symbol = "amqp:session:errant-link"
	HandleInUse      Symbol = "amqp:session:handle-in-use"
	UnattachedHandle Symbol = "amqp:session:unattached-handle"
)

// The conditions of a link [AMQP 2.8.18].
const (
	DetachForced          Symbol = "amqp:link:detach-forced"
	TransferLimitExceeded Symbol = "amqp:link:transfer-limit-exceeded"
	MessageSizeExceeded   Symbol = "amqp:link:message-size-exceeded"
	LinkRedirect          Symbol = "amqp:link:redirect"
	Stolen                Symbol = "amqp:link:stolen"
)

// The conditions of a transaction [AMQP 4.5.8].
const (
	UnknownTransactionID Symbol = "amqp:transaction:unknown-id"
	TransactionRollback  Symbol = "amqp:transaction:rollback"
	TransactionTimeout   Symbol = "amqp:transaction:timeout"
)

func malformed(rule, text string) error {
	return &Error{Condition: DecodeError, Description: text + " [AMQP " + rule + "]"}
}

func framing(rule, text string) error {
	return &Error{Condition: FramingError, Description: text + " [AMQP " + rule + "]"}
}

func invalid(rule, text string) error {
	return &Error{Condition: InvalidField, Description: text + " [AMQP " + rule + "]"}
}

// What no frame and no value may be. These are never written to.
var (
	errFrameSmall  = framing("2.3.1", "frame smaller than its header")
	errFrameLarge  = framing("2.7.1", "frame larger than the maximum frame size")
	errOffsetSmall = framing("2.3.1", "data offset within the frame's header")
	errOffsetLarge = framing("2.3.1", "data offset behind the frame's end")
	errFrameType   = framing("2.3.1", "unknown frame type")

	errShort      = malformed("1.6", "ends before its content does")
	errLong       = malformed("1.6", "goes on behind its content")
	errCode       = malformed("1.2", "unknown format code")
	errDepth      = malformed("1.2", "nested too deep")
	errBool       = malformed("1.6.2", "boolean that is neither 0 nor 1")
	errChar       = malformed("1.6.16", "char that is not a Unicode code point")
	errText       = malformed("1.6.20", "ill-formed UTF-8 in a string")
	errSymbol     = malformed("1.6.21", "symbol that is not ASCII")
	errOdd        = malformed("1.6.23", "map with a key that has no value")
	errDuplicate  = malformed("1.6.23", "map with the same key twice")
	errShared     = malformed("1.6.24", "array of too many elements with a shared constructor")
	errDescribed  = malformed("1.2", "not a described type")
	errDescriptor = malformed("1.2", "unknown descriptor")
	errList       = malformed("1.4", "described type that is not a list")
	errMap        = malformed("1.4", "not a map")

	errSection       = malformed("3.2", "section out of its order")
	errBody          = malformed("3.2", "body of a wrong type")
	errAnnotation    = malformed("3.2.10", "annotation whose key is neither a symbol nor a ulong")
	errPropertyKey   = malformed("3.2.5", "application property whose key is not a string")
	errPropertyValue = malformed("3.2.5", "application property that is not of a simple type")
)
