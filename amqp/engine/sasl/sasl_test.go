package sasl

import (
	"errors"
	"strings"
	"testing"
)

var checker = &Checker{
	Mechanisms: []string{ScramSHA512, ScramSHA256, Plain, External, Anonymous},
	Password: func(user string) (string, bool) {
		p, ok := map[string]string{"user": "pencil", "a=b,c": "séc,ret", "emoji": "🔑"}[user]
		return p, ok
	},
	Secret: [32]byte{1},
}

// attempt runs one exchange and returns who the server says that it was.
func attempt(t *testing.T, c *Credentials, external string) (mechanism, user string, err error) {
	t.Helper()
	mechanism, message, client, err := c.Start(checker.Offered(external))
	if err != nil {
		return "", "", err
	}
	server, err := checker.Start(mechanism, external)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		answer, done, err := server.Next(message)
		if err != nil {
			return mechanism, "", err
		}
		if done {
			return mechanism, server.User(), client.Finish(answer)
		}
		if message, _, err = client.Next(answer); err != nil {
			return mechanism, "", err
		}
	}
	t.Fatal("the exchange does not end")
	return "", "", nil
}

func TestMechanisms(t *testing.T) {
	for _, c := range []struct {
		name        string
		credentials Credentials
		external    string
		mechanism   string
		user        string
		err         error
	}{
		{"anybody", Credentials{}, "", Anonymous, "", nil},
		{"the strongest first", Credentials{User: "user", Password: "pencil"}, "", ScramSHA512, "user", nil},
		{"SHA-256", Credentials{User: "user", Password: "pencil", Mechanisms: []string{ScramSHA256}}, "", ScramSHA256, "user", nil},
		{"not for SASLprep", Credentials{User: "emoji", Password: "🔑"}, "", ScramSHA512, "emoji", nil},
		{"prepared", Credentials{User: "user", Password: "p\u00ade\u2060ncil"}, "", ScramSHA512, "user", nil}, // [RFC 4013, 2.1]
		{"escaped", Credentials{User: "a=b,c", Password: "séc,ret", Mechanisms: []string{ScramSHA256}}, "", ScramSHA256, "a=b,c", nil},
		{"plain", Credentials{User: "user", Password: "pencil", Mechanisms: []string{Plain}}, "", Plain, "user", nil},
		{"certificate", Credentials{Certificate: true}, "CN=device", External, "CN=device", nil},
		{"no certificate", Credentials{Mechanisms: []string{External}}, "", "", "", ErrMechanism},
		{"wrong", Credentials{User: "user", Password: "Pencil"}, "", ScramSHA512, "", ErrDenied},
		{"unknown", Credentials{User: "nobody", Password: "pencil"}, "", ScramSHA512, "", ErrDenied},
		{"unknown without a password", Credentials{User: "nobody", Mechanisms: []string{ScramSHA256}}, "", ScramSHA256, "", ErrDenied},
		{"wrong, plain", Credentials{User: "user", Password: "penci", Mechanisms: []string{Plain}}, "", Plain, "", ErrDenied},
		{"unknown, plain", Credentials{User: "nobody", Mechanisms: []string{Plain}}, "", Plain, "", ErrDenied},
	} {
		mechanism, user, err := attempt(t, &c.credentials, c.external)
		if mechanism != c.mechanism || user != c.user || !errors.Is(err, c.err) {
			t.Errorf("%s: %s, %q, %v", c.name, mechanism, user, err)
		}
	}
}

// A listener without users believes every name.
func TestAnyone(t *testing.T) {
	x, err := (&Checker{Mechanisms: []string{Plain}, Anyone: true}).Start(Plain, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := x.Next([]byte("\x00somebody\x00something")); !done || err != nil || x.User() != "somebody" {
		t.Fatal(done, err, x.User())
	}
}

// askRFC is a client with the password and the nonce of the RFC's example, and what it says first.
func askRFC(t *testing.T) (x *Exchange, first string) {
	t.Helper()
	k, err := knower(hashOf(ScramSHA256), "user", "pencil")
	if err != nil {
		t.Fatal(err)
	}
	x = &Exchange{}
	b, err := x.askScram(k.WithNonceGenerator(func() string { return "rOprNGfwEbeRWgbNEkqO" }))
	if err != nil {
		t.Fatal(err)
	}
	return x, string(b)
}

// The example of RFC 7677, 3; and a server that does not prove that it knows the password, in whatever way.
func TestScramClientOfTheRFC(t *testing.T) {
	const challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	const final = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	for verdict, want := range map[string]error{
		"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=": nil,
		"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=": ErrServer,
		"v=":            ErrServer,
		"":              ErrServer,
		"e=other-error": ErrServer,
	} {
		x, first := askRFC(t)
		if first != "n,,n=user,r=rOprNGfwEbeRWgbNEkqO" {
			t.Fatal(first)
		}
		if answer, _, err := x.Next([]byte(challenge)); err != nil || string(answer) != final {
			t.Fatalf("%s, %v", answer, err)
		}
		if err := x.Finish([]byte(verdict)); !errors.Is(err, want) {
			t.Errorf("%q: %v", verdict, err)
		}
	}
	x, _ := askRFC(t)
	if err := x.Finish(nil); !errors.Is(err, ErrServer) {
		t.Fatal("no signature of the server passed")
	}
}

// A user that does not exist has a salt, and always the same one, so that nobody learns who exists.
func TestUsersCannotBeEnumerated(t *testing.T) {
	salt := func(user string) string {
		x, err := checker.Start(ScramSHA256, "")
		if err != nil {
			t.Fatal(err)
		}
		answer, _, err := x.Next([]byte("n,,n=" + user + ",r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(answer), ",")[1]
	}
	for _, user := range []string{"user", "nobody"} {
		if a, b := salt(user), salt(user); a != b {
			t.Errorf("%s has the salts %s and %s", user, a, b)
		}
	}
	if salt("user") == salt("nobody") {
		t.Error("one salt for all")
	}
}

func TestMalformed(t *testing.T) {
	for _, c := range []struct{ mechanism, first, final string }{
		{Plain, "user", ""},
		{Plain, "\x00\x00pencil", ""},
		{Plain, "\x00a\x00b\x00c", ""},
		{Plain, "other\x00user\x00pencil", ""},
		{External, "somebody else", ""},
		{ScramSHA256, "", ""},
		{ScramSHA256, "p=tls-unique,,n=user,r=abc", ""},
		{ScramSHA256, "n,,r=abc,n=user", ""},
		{ScramSHA256, "n,,m=ext,n=user,r=abc", ""},
		{ScramSHA256, "n,,n=us=er,r=abc", ""},
		{ScramSHA256, "n,a=other,n=user,r=abc", ""},
		{ScramSHA256, "n,,n=user,r=abc", "c=biws,r=abc"},
		{ScramSHA256, "n,,n=user,r=abc", "c=biws,r=abc,p=AAAA"},
		{ScramSHA256, strings.Repeat("x", maxMessage+1), ""},
	} {
		x, err := checker.Start(c.mechanism, "CN=device")
		if err != nil {
			t.Fatal(err)
		}
		_, done, err := x.Next([]byte(c.first))
		if c.final != "" && err == nil {
			_, done, err = x.Next([]byte(c.final))
		}
		if done || err == nil {
			t.Errorf("%s %q passed", c.mechanism, c.first)
		}
	}
	if _, err := checker.Start("OAUTHBEARER", ""); !errors.Is(err, ErrMechanism) {
		t.Error("a mechanism that was not offered passed")
	}
	if _, err := checker.Start(External, ""); !errors.Is(err, ErrMechanism) {
		t.Error("EXTERNAL passed without a certificate")
	}
}

// A server that makes the client hash for ever, or hardly at all, or forgets its nonce, is left alone.
func TestHostileServer(t *testing.T) {
	const nonce = "rOprNGfwEbeRWgbNEkqO"
	for _, challenge := range []string{
		"", "r=" + nonce + "x,s=AAAA", "r=" + nonce + "x,s=AAAA,i=0", "r=" + nonce + "x,s=AAAA,i=-1", "r=" + nonce + "x,s=AAAA,i=4095",
		"r=" + nonce + "x,s=AAAA,i=1000001", "r=" + nonce + "x,s=AAAA,i=9999999999999999999999", "r=x,s=AAAA,i=4096", "r=" + nonce + "x,s=!,i=4096",
		"m=ext,r=" + nonce + "x,s=AAAA,i=4096", "r=" + nonce + "x,i=4096,i=1000001",
	} {
		x, _ := askRFC(t)
		if _, _, err := x.Next([]byte(challenge)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", challenge, err)
		}
	}
}

func FuzzServer(f *testing.F) {
	f.Add("n,,n=user,r=abc", "c=biws,r=abc,p=AAAA")
	f.Add("\x00user\x00pencil", "")
	f.Fuzz(func(t *testing.T, first, final string) {
		for _, m := range []string{Plain, ScramSHA256} {
			x, _ := checker.Start(m, "")
			_, done, err := x.Next([]byte(first))
			if err == nil && !done {
				_, done, err = x.Next([]byte(final))
			}
			if done && (m != Plain || x.User() == "") {
				t.Errorf("%s: %q, %q passed: %v", m, first, final, err)
			}
		}
	})
}
