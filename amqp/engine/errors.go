package engine

import (
	"errors"
	"fmt"
	"strings"

	"github.com/linkspan/linkspan/amqp/frame"
)

var (
	// ErrNoCredit is what Send answers without link credit. Flow is called when there is some.
	ErrNoCredit = errors.New("amqp: the link has no credit")
	// ErrWindow is what Send answers when the session's window is closed, or too much output waits. Flow is called when there
	// is room again.
	ErrWindow = errors.New("amqp: the session takes no more transfers at the moment")
	// ErrDetached is what calls on a link, a session or a connection answer that is over, or never began.
	ErrDetached = errors.New("amqp: the link is detached")
	// ErrTooLarge is what Send answers for a message that the peer does not take.
	ErrTooLarge = errors.New("amqp: the message is larger than the peer takes")
	// ErrLimit is what Begin and Attach answer when the peer takes no more sessions or links.
	ErrLimit = errors.New("amqp: the peer takes no more of these")
	// ErrBusy is what Attach answers while another link of that name waits for the peer's answer.
	ErrBusy = errors.New("amqp: the link of this name is being attached")
	// ErrIdle is the end of a connection whose peer was silent for too long.
	ErrIdle = errors.New("amqp: the peer was silent for too long")
	// ErrProtocol is the end of a connection whose peer speaks another protocol, another version, or wants another layer of
	// security: it was told which one we speak.
	ErrProtocol = errors.New("amqp: the peer speaks another protocol")
)

// violation returns the error of a peer that does not keep to the standard.
func violation(condition frame.Symbol, format string, args ...any) *frame.Error {
	return &frame.Error{Condition: condition, Description: fmt.Sprintf(format, args...)}
}

// maxDescription bounds in bytes what a peer is told in words, so that every frame that tells it fits.
const maxDescription = 200

// clip returns what the peer is told of an error, as much as fits into any frame; nil is none.
func clip(err *frame.Error) frame.Error {
	if err == nil {
		return frame.Error{}
	}
	e := frame.Error{Condition: err.Condition, Description: err.Description}
	if len(err.Info) <= maxDescription/2 {
		e.Info = err.Info
	}
	if len(e.Description) > maxDescription {
		e.Description = strings.ToValidUTF8(e.Description[:maxDescription], "")
	}
	return e
}

// orNil returns an error that the peer has told, nil if it has not told one.
func orNil(e *frame.Error) *frame.Error {
	if e.Condition == "" {
		return nil
	}
	return e
}
