package codec

import (
	"github.com/linkspan/linkspan"
)

// Headers of what only AMQP says: the table of docs/mapping.md.
const (
	headerBody             = "amqp.body"
	headerBodyTypes        = "amqp.body-types"
	headerBodyEncoded      = "amqp.body-encoded"
	headerLayout           = "amqp.layout"
	headerDurable          = "amqp.durable"
	headerPriority         = "amqp.priority"
	headerAnnotations      = "amqp.message-annotations"
	headerMessageID        = "amqp.message-id"
	headerUserID           = "amqp.user-id"
	headerTo               = "amqp.to"
	headerSubject          = "amqp.subject"
	headerReplyTo          = "amqp.reply-to"
	headerCorrelationID    = "amqp.correlation-id"
	headerContentEncoding  = "amqp.content-encoding"
	headerAbsoluteExpiry   = "amqp.absolute-expiry-time"
	headerCreationTime     = "amqp.creation-time"
	headerGroupID          = "amqp.group-id"
	headerGroupSequence    = "amqp.group-sequence"
	headerReplyToGroupID   = "amqp.reply-to-group-id"
	headerPropertyTypes    = "amqp.property-types"
	headerProperties       = "amqp.properties"
	headerApplicationProps = "amqp.application-properties"
	headerFooter           = "amqp.footer"
)

// What [headerBody] says, beside the names of simple types.
const (
	bodyData         = "data"
	bodyNone         = "none"
	bodyEncoded      = "encoded"
	bodyJSON         = "json"
	bodyJSONSequence = "json-sequence"
	bodyDocument     = "document"
	bodyMessage      = "message"
)

// said is what the headers of a message say, nil where they do not.
type said struct {
	body, bodyTypes, bodyEncoded, layout                []byte
	durable, priority, annotations                      []byte
	messageID, userID, to, subject, replyTo             []byte
	correlationID, contentEncoding                      []byte
	absoluteExpiry, creationTime                        []byte
	groupID, groupSequence, replyToGroupID              []byte
	propertyTypes, properties, applicationProps, footer []byte
}

// collect reads the headers, of which the last with one name counts.
func collect(headers []linkspan.Header) (s said) {
	for i := range headers {
		if at := s.at(headers[i].Key); at != nil {
			*at = headers[i].Value
		}
	}
	return s
}

// at returns where what a header says is kept, nil for one that the table does not have.
func (s *said) at(header string) *[]byte {
	switch header {
	case headerBody:
		return &s.body
	case headerBodyTypes:
		return &s.bodyTypes
	case headerBodyEncoded:
		return &s.bodyEncoded
	case headerLayout:
		return &s.layout
	case headerDurable:
		return &s.durable
	case headerPriority:
		return &s.priority
	case headerAnnotations:
		return &s.annotations
	case headerMessageID:
		return &s.messageID
	case headerUserID:
		return &s.userID
	case headerTo:
		return &s.to
	case headerSubject:
		return &s.subject
	case headerReplyTo:
		return &s.replyTo
	case headerCorrelationID:
		return &s.correlationID
	case headerContentEncoding:
		return &s.contentEncoding
	case headerAbsoluteExpiry:
		return &s.absoluteExpiry
	case headerCreationTime:
		return &s.creationTime
	case headerGroupID:
		return &s.groupID
	case headerGroupSequence:
		return &s.groupSequence
	case headerReplyToGroupID:
		return &s.replyToGroupID
	case headerPropertyTypes:
		return &s.propertyTypes
	case headerProperties:
		return &s.properties
	case headerApplicationProps:
		return &s.applicationProps
	case headerFooter:
		return &s.footer
	}
	return nil
}
