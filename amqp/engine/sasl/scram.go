package sasl

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"strconv"
	"strings"
)

const (
	iterations    = 4096      // ours [RFC 7677, 4]
	maxIterations = 1_000_000 // a server that wants more wants our processor
	noBinding     = "n,,"     // of a channel: not supported
)

// scramServer is the checking side of one exchange [RFC 5802, 3]. A user that does not exist goes through all of it like
// one with a wrong password.
type scramServer struct {
	x    *Exchange
	c    *Checker
	hash func() hash.Hash

	user    string
	header  []byte // gs2
	nonce   string // of both
	salt    []byte
	message []byte // what both sign
}

func (s *scramServer) first(message []byte) ([]byte, bool, error) {
	if message == nil {
		return []byte{}, false, nil
	}
	header, bare, ok := cutHeader(message)
	if !ok {
		return nil, false, ErrMalformed
	}
	user, nonce := field(bare, 0, 'n'), field(bare, 1, 'r')
	name, ok := unescape(user)
	if !ok || name == "" || nonce == "" {
		return nil, false, ErrMalformed
	}
	if !asItself(authorized(header), name) {
		return nil, false, ErrDenied
	}
	s.user, s.header, s.nonce = name, bytes.Clone(header), nonce+newNonce()
	s.salt = s.c.digest("salt", []byte(name))[:16]
	answer := "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(s.salt) + ",i=" + strconv.Itoa(iterations)
	s.message = append(append(append([]byte(nil), bare...), ','), answer...)
	s.x.next = s.final
	return []byte(answer), false, nil
}

func (s *scramServer) final(message []byte) ([]byte, bool, error) {
	at := bytes.LastIndex(message, []byte(",p="))
	if at < 0 {
		return nil, false, ErrMalformed
	}
	binding, err1 := base64.StdEncoding.DecodeString(field(message, 0, 'c'))
	proof, err2 := base64.StdEncoding.DecodeString(string(message[at+3:]))
	if err1 != nil || err2 != nil || !bytes.Equal(binding, s.header) || field(message, 1, 'r') != s.nonce {
		return nil, false, ErrMalformed
	}
	password, known := s.c.password(s.user)
	if !known {
		password = string(s.c.digest("nobody", []byte(s.user)))
	}
	signed := append(append(s.message, ','), message[:at]...)
	keys, err := newKeys(s.hash, password, s.salt, iterations)
	if err != nil || subtle.ConstantTimeCompare(proof, keys.proof(signed)) != 1 || !known {
		return nil, false, ErrDenied
	}
	s.x.user = s.user
	return []byte("v=" + base64.StdEncoding.EncodeToString(keys.signature(signed))), true, nil
}

// scramClient is the asking side.
type scramClient struct {
	x     *Exchange
	c     *Credentials
	hash  func() hash.Hash
	nonce string
	bare  string
	want  []byte // the server's signature
}

func newScramClient(x *Exchange, c *Credentials, mechanism string) (first []byte) {
	return startScram(x, c, mechanism, newNonce())
}

func startScram(x *Exchange, c *Credentials, mechanism, nonce string) (first []byte) {
	s := &scramClient{x: x, c: c, hash: hashOf(mechanism), nonce: nonce}
	s.bare = "n=" + escape(c.User) + ",r=" + s.nonce
	x.next = s.challenged
	return []byte(noBinding + s.bare)
}

func (s *scramClient) challenged(message []byte) ([]byte, bool, error) {
	nonce := field(message, 0, 'r')
	salt, err := base64.StdEncoding.DecodeString(field(message, 1, 's'))
	n, err2 := strconv.Atoi(field(message, 2, 'i'))
	if err != nil || err2 != nil || len(salt) == 0 || n < 1 || n > maxIterations ||
		len(nonce) <= len(s.nonce) || !strings.HasPrefix(nonce, s.nonce) {
		return nil, false, ErrMalformed
	}
	keys, err := newKeys(s.hash, s.c.Password, salt, n)
	if err != nil {
		return nil, false, ErrMalformed
	}
	final := "c=" + base64.StdEncoding.EncodeToString([]byte(noBinding)) + ",r=" + nonce
	signed := []byte(s.bare + "," + string(message) + "," + final)
	s.want = keys.signature(signed)
	s.x.next = s.verify
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(keys.proof(signed))), false, nil
}

func (s *scramClient) verify(message []byte) ([]byte, bool, error) {
	got, err := base64.StdEncoding.DecodeString(field(message, 0, 'v'))
	if err != nil || subtle.ConstantTimeCompare(got, s.want) != 1 {
		return nil, false, ErrServer
	}
	s.x.proved = true
	return []byte{}, true, nil
}

// keys are what both sides make of the password.
type keys struct {
	hash                   func() hash.Hash
	client, stored, server []byte
}

func newKeys(h func() hash.Hash, password string, salt []byte, iterations int) (*keys, error) {
	salted, err := pbkdf2.Key(h, password, salt, iterations, h().Size())
	if err != nil {
		return nil, err
	}
	k := &keys{hash: h}
	k.client, k.server = k.mac(salted, []byte("Client Key")), k.mac(salted, []byte("Server Key"))
	stored := h()
	stored.Write(k.client)
	k.stored = stored.Sum(nil)
	return k, nil
}

func (k *keys) mac(key, message []byte) []byte {
	m := hmac.New(k.hash, key)
	m.Write(message)
	return m.Sum(nil)
}

func (k *keys) proof(signed []byte) []byte {
	proof := k.mac(k.stored, signed)
	subtle.XORBytes(proof, proof, k.client)
	return proof
}

func (k *keys) signature(signed []byte) []byte { return k.mac(k.server, signed) }

// newNonce returns 144 random bits.
func newNonce() string {
	var b [18]byte
	rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString(b[:])
}

// cutHeader takes the gs2 header off a first message. A client that could bind the channel but thinks that we cannot is
// right ("y"); one that wants it bound did not look at what was offered ("p").
func cutHeader(b []byte) (header, bare []byte, ok bool) {
	if len(b) < 3 || (b[0] != 'n' && b[0] != 'y') || b[1] != ',' {
		return nil, nil, false
	}
	end := bytes.IndexByte(b[2:], ',')
	if end < 0 {
		return nil, nil, false
	}
	return b[:end+3], b[end+3:], true
}

// authorized returns the name of a gs2 header; nil: none.
func authorized(header []byte) []byte {
	name, ok := strings.CutPrefix(string(header[2:len(header)-1]), "a=")
	if !ok {
		return nil
	}
	plain, _ := unescape(name)
	return []byte(plain)
}

// field returns the value of the n-th attribute, "" if that is not the one named.
func field(message []byte, n int, name byte) string {
	for ; n > 0; n-- {
		_, rest, ok := bytes.Cut(message, []byte{','})
		if !ok {
			return ""
		}
		message = rest
	}
	f, _, _ := bytes.Cut(message, []byte{','})
	if len(f) < 2 || f[0] != name || f[1] != '=' {
		return ""
	}
	return string(f[2:])
}

func escape(user string) string {
	return strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user)
}

func unescape(user string) (string, bool) {
	plain := strings.NewReplacer("=2C", ",", "=3D", "=").Replace(user)
	return plain, escape(plain) == user
}
