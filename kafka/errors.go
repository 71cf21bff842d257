package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Errors of this package that callers may want to tell apart. All but ErrTopicSettings are permanent for the message that gets them.
var (
	// ErrUnknownTopic: the Kafka topic does not exist, and was not created within the time for that.
	ErrUnknownTopic = linkspan.Permanent(errors.New("the Kafka topic does not exist"))
	// ErrNoPartition: the record names a partition that its topic does not have.
	ErrNoPartition = linkspan.Permanent(errors.New("the Kafka topic has no such partition"))
	// ErrTopicSettings: a topic exists with other settings than it must have.
	ErrTopicSettings = errors.New("the Kafka topic has other settings than it must have")
)

// classify turns what became of a record into what [linkspan.Sink] promises, here and nowhere else. Whatever is not
// known to be hopeless stays with the sender (P2).
func classify(topic string, err error) error {
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case err == nil:
		return nil
	case is(kgo.ErrClientClosed):
		return linkspan.ErrClosed
	case is(kerr.UnknownTopicOrPartition), is(kerr.UnknownTopicID):
		return fmt.Errorf("%w: %s", ErrUnknownTopic, topic)
	case is(kerr.InvalidTopicException):
		return fmt.Errorf("%w: %s: %w", linkspan.ErrInvalidTopic, topic, err)
	case is(kerr.TopicAuthorizationFailed), is(kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("%w: write to Kafka topic %s: %w", linkspan.ErrNotAuthorized, topic, err)
	case is(kerr.MessageTooLarge), is(kerr.RecordListTooLarge):
		return fmt.Errorf("%w: Kafka topic %s: %w", linkspan.ErrTooLarge, topic, err)
	case is(kerr.InvalidRecord), is(kerr.InvalidTimestamp), is(kerr.PolicyViolation), is(kerr.UnsupportedForMessageFormat),
		is(kerr.UnsupportedCompressionType), is(kerr.InvalidRequiredAcks):
		return linkspan.Permanent(fmt.Errorf("write to Kafka topic %s: %w", topic, err))
	}
	return fmt.Errorf("write to Kafka topic %s: %w", topic, err)
}

// hopeless reports whether connecting again with the same configuration cannot help.
func hopeless(err error) bool {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	return errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.UnsupportedSaslMechanism) ||
		errors.Is(err, kerr.IllegalSaslState) || errors.Is(err, errTokenRefused) || refusesCertificate(err) ||
		errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &record)
}

// explain adds to err what to do about it.
func explain(err error) error {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var record tls.RecordHeaderError
	var eof *kgo.ErrFirstReadEOF
	hint := ""
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		hint = "the broker refused the login; check kafka.sasl"
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		hint = "the broker does not offer this kafka.sasl.mechanism"
	case refusesCertificate(err):
		hint = "the broker refused our certificate, or the lack of one; check kafka.tls.cert and kafka.tls.key"
	case errors.As(err, &unknown):
		hint = "the broker's certificate is from an unknown authority; set kafka.tls.ca to its file"
	case errors.As(err, &host):
		hint = "the broker's certificate is for another name; set kafka.tls.server_name"
	case errors.As(err, &record):
		hint = "the broker does not speak TLS there; remove kafka.tls or use its TLS port"
	case errors.As(err, &eof), errors.Is(err, io.EOF):
		hint = "the broker closed the connection at once; check kafka.tls and kafka.sasl"
	case errors.Is(err, syscall.ECONNRESET):
		hint = "what listens there cut the connection; check that it is Kafka, and kafka.tls and kafka.sasl"
	default:
		return err
	}
	return fmt.Errorf("%s: %w", hint, err)
}

// refusesCertificate reports whether err is a TLS alert by which the other side says that it does not like our certificate, or
// wants one [RFC 8446 6.2]. The standard library has no type for an alert that was received, only words.
func refusesCertificate(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error" && strings.Contains(op.Err.Error(), "certificate")
}

// isDial reports whether err is one of connecting.
func isDial(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func isUnknownTopic(err error) bool {
	return errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID)
}
