package sasl

import (
	"strconv"
	"strings"

	"github.com/xdg-go/scram"
)

const (
	iterations    = 4096      // ours [RFC 7677, 4]
	maxIterations = 1_000_000 // a server that wants more wants our processor
)

// hashOf returns the hash of a mechanism of SCRAM.
func hashOf(mechanism string) scram.HashGeneratorFcn {
	if mechanism == ScramSHA512 {
		return scram.SHA512
	}
	return scram.SHA256
}

// knower returns who knows a password. One that SASLprep has nothing for is taken as it is, as by all who do not prepare [RFC 5802, 5.1].
func knower(hash scram.HashGeneratorFcn, user, password string) (*scram.Client, error) {
	if k, err := hash.NewClient(user, password, ""); err == nil {
		return k, nil
	}
	return hash.NewClientUnprepped(user, password, "")
}

// checkScram begins the checking side [RFC 5802, 3]. A user that does not exist goes through all of it like one with a wrong password.
func (x *Exchange) checkScram(c *Checker, hash scram.HashGeneratorFcn) error {
	known := false
	server, err := hash.NewServer(func(user string) (s scram.StoredCredentials, err error) {
		var password string
		if password, known = c.password(user); !known {
			password = string(c.digest("nobody", []byte(user)))
		}
		k, err := knower(hash, user, password)
		if err != nil {
			return s, err
		}
		return k.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(c.digest("salt", []byte(user))[:16]), Iters: iterations})
	})
	if err != nil {
		return err
	}
	talk := server.NewConversation()
	x.next = func(message []byte) ([]byte, bool, error) {
		if message == nil { // the peer has not said anything yet [RFC 4422, 5]
			return []byte{}, false, nil
		}
		answer, err := talk.Step(string(message))
		switch {
		case err != nil && answer != scram.ErrInvalidProof:
			return nil, false, ErrMalformed
		case err != nil, talk.Valid() && !known, !asItself([]byte(talk.AuthzID()), talk.Username()):
			return nil, false, ErrDenied
		case talk.Done():
			x.user = talk.Username()
		}
		return []byte(answer), talk.Done(), nil
	}
	return nil
}

// askScram begins the asking side, and returns its first message.
func (x *Exchange) askScram(k *scram.Client) (first []byte, err error) {
	talk := k.NewConversation()
	text, err := talk.Step("")
	x.next = func(message []byte) ([]byte, bool, error) {
		if asks(string(message)) > maxIterations {
			return nil, false, ErrMalformed
		}
		answer, err := talk.Step(string(message))
		switch {
		case err != nil && talk.Done():
			return nil, false, ErrServer
		case err != nil:
			return nil, false, ErrMalformed
		}
		x.proved = talk.Valid()
		return []byte(answer), talk.Done(), nil
	}
	return []byte(text), err
}

// asks returns how many iterations a challenge asks for; 0 if it does not say.
func asks(challenge string) int {
	_, i, _ := strings.Cut(challenge, ",i=")
	i, _, _ = strings.Cut(i, ",")
	n, _ := strconv.Atoi(i)
	return n
}
