package kafka

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/linkspan/linkspan"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// SASLConfig is `kafka.sasl`: how to log in.
type SASLConfig struct {
	// Mechanism is plain, scram-sha-256, scram-sha-512, oauthbearer or aws-msk-iam. Required. Kafka: sasl.mechanism.
	Mechanism string `yaml:"mechanism"`
	// Username and Password, for plain and scram. Kafka: sasl.jaas.config.
	Username string          `yaml:"username"`
	Password linkspan.Secret `yaml:"password"`
	// OAuth, for oauthbearer.
	OAuth *OAuthConfig `yaml:"oauth"`
	// AWS, for aws-msk-iam. Left out: all from the environment.
	AWS *AWSConfig `yaml:"aws"`
}

const (
	mechPlain    = "plain"
	mechScram256 = "scram-sha-256"
	mechScram512 = "scram-sha-512"
	mechOAuth    = "oauthbearer"
	mechAWS      = "aws-msk-iam"
)

func (s *SASLConfig) validate(p *problems) {
	mechs := []string{mechPlain, mechScram256, mechScram512, mechOAuth, mechAWS}
	if !slices.Contains(mechs, s.Mechanism) {
		p.add("sasl.mechanism", "%q is none of %s", s.Mechanism, strings.Join(mechs, ", "))
		return
	}
	login := s.Mechanism == mechPlain || s.Mechanism == mechScram256 || s.Mechanism == mechScram512
	p.check("sasl.username", !login || s.Username != "", "%s needs a username", s.Mechanism)
	p.check("sasl.password", !login || s.Password != "", "%s needs a password", s.Mechanism)
	p.check("sasl.username", login || s.Username == "" && s.Password == "", "%s takes no username and password; remove them", s.Mechanism)
	p.check("sasl.oauth", s.Mechanism == mechOAuth || s.OAuth == nil, "has no effect with %s; remove it", s.Mechanism)
	p.check("sasl.aws", s.Mechanism == mechAWS || s.AWS == nil, "has no effect with %s; remove it", s.Mechanism)
	if s.Mechanism == mechOAuth {
		if s.OAuth == nil {
			p.add("sasl.oauth", "oauthbearer needs token_endpoint, client_id and client_secret, or token_file")
			return
		}
		s.OAuth.validate(p)
	}
}

// mechanism builds what logs in.
func (s *SASLConfig) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case mechPlain:
		return plain.Auth{User: s.Username, Pass: string(s.Password)}.AsMechanism(), nil
	case mechScram256:
		return scram.Auth{User: s.Username, Pass: string(s.Password)}.AsSha256Mechanism(), nil
	case mechScram512:
		return scram.Auth{User: s.Username, Pass: string(s.Password)}.AsSha512Mechanism(), nil
	case mechOAuth:
		tokens, err := newTokenSource(s.OAuth)
		if err != nil {
			return nil, err
		}
		return bearer{oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
			token, err := tokens.token(ctx)
			return oauth.Auth{Token: token, Extensions: s.OAuth.Extensions}, err
		})}, nil
	}
	aws := AWSConfig{}
	if s.AWS != nil {
		aws = *s.AWS
	}
	return mskIAM{aws, os.Getenv}, nil
}
