package bridge

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/linkspan/linkspan/bridge/internal/migrate"
)

// Imported is a configuration made from the settings of another program. See docs/migration.md for what becomes of each.
type Imported struct {
	// Text is the configuration, in YAML.
	Text string
	// Notes are what is different from the other program, and what has no equivalent.
	Notes []string
	// Variables are the environment variables that Text refers to, for its secrets.
	Variables []string
}

// ImportConnector makes a configuration from connector's environment variables. environ has the form of os.Environ. As connector
// does, it takes what is missing there from the file .env, unless RUN_MODE is PRODUCTION.
func ImportConnector(environ []string) (Imported, error) {
	environ, err := withDotEnv(environ)
	if err != nil {
		return Imported{}, err
	}
	return imported(migrate.Connector(environ))
}

// ImportUNS makes a configuration from the files settings.yaml and .secrets.yaml of the UNS Kafka mapper, and from the variables of environ
// that begin with UNS_. secrets may be "".
func ImportUNS(settings, secrets string, environ []string) (Imported, error) {
	files, err := readFiles(settings, secrets)
	if err != nil {
		return Imported{}, err
	}
	return imported(migrate.UNS(files[0], files[1], environ))
}

// ImportStrimzi makes a configuration from the topic mapping rules of the Strimzi MQTT bridge and its application.properties,
// which may be "".
func ImportStrimzi(rules, properties string) (Imported, error) {
	files, err := readFiles(rules, properties)
	if err != nil {
		return Imported{}, err
	}
	return imported(migrate.Strimzi(files[0], files[1]))
}

func imported(r migrate.Result, err error) (Imported, error) { return Imported(r), err }

// Validate loads the configuration, with something in place of the secrets, and returns what is wrong with it.
func (i Imported) Validate() error {
	environ := []string{"HOME=" + os.TempDir()}
	for _, name := range i.Variables {
		environ = append(environ, name+"=x")
	}
	_, err := Parse("the imported configuration", []byte(i.Text), environ)
	return err
}

// Profiles are the programs whose place [LoadProfile] can take.
func Profiles() []string { return []string{"connector"} }

// LoadProfile is [Load] for the settings of another program, left where that program finds them, and returns what is different
// with Linkspan.
func LoadProfile(profile string, environ []string) (cfg Config, notes []string, err error) {
	if !slices.Contains(Profiles(), profile) {
		return cfg, nil, fmt.Errorf("there is no profile %q; there are %v", profile, Profiles())
	}
	environ, err = withDotEnv(environ)
	if err != nil {
		return cfg, nil, err
	}
	made, err := imported(migrate.Connector(environ))
	if err != nil {
		return cfg, nil, err
	}
	cfg, err = Parse("profile "+profile, []byte(made.Text), environ)
	return cfg, made.Notes, err
}

// withDotEnv puts the variables of the file .env before those of the environment, which win.
func withDotEnv(environ []string) ([]string, error) {
	if mode, _ := lookup(environ)("RUN_MODE"); mode == "PRODUCTION" {
		return environ, nil
	}
	text, err := os.ReadFile(".env")
	if errors.Is(err, fs.ErrNotExist) {
		return environ, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w; set RUN_MODE=PRODUCTION to do without it", err)
	}
	more, err := migrate.DotEnv(migrate.File{Name: ".env", Text: text})
	return slices.Concat(more, environ), err
}

// readFiles reads files; one without a name is empty.
func readFiles(names ...string) (files []migrate.File, err error) {
	for _, name := range names {
		var text []byte
		if name != "" {
			if text, err = os.ReadFile(name); err != nil {
				return nil, err
			}
		}
		files = append(files, migrate.File{Name: name, Text: text})
	}
	return files, nil
}
