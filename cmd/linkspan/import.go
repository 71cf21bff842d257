package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/linkspan/linkspan/bridge"
)

type importCommand struct {
	From       string `arg:"" enum:"connector,uns,strimzi" help:"connector, uns (the Kafka mapper of Unified Namespace) or strimzi (its MQTT bridge)."`
	File       string `arg:"" optional:"" help:"settings.yaml of uns, or the topic mapping rules of strimzi. connector has none: its environment is read."`
	Secrets    string `placeholder:"FILE" help:".secrets.yaml of uns."`
	Properties string `placeholder:"FILE" help:"application.properties of strimzi."`
}

func (importCommand) Help() string {
	return `The configuration goes to standard output, with a comment where something has no equivalent or is different. The same is said on standard error. Secrets are not in it: it names the environment variable to put each into. UNS_... variables are put over the files of uns, as there.

    linkspan import uns conf/settings.yaml --secrets conf/.secrets.yaml > linkspan.yaml
    linkspan import strimzi topic-mapping-rules.json --properties application.properties > linkspan.yaml
    linkspan import connector > linkspan.yaml
    linkspan check -c linkspan.yaml
`
}

func (c importCommand) Run(p *program) error {
	made, err := c.read(p)
	if err != nil {
		return wrong{err}
	}
	if _, err := fmt.Fprint(p.stdout, made.Text); err != nil {
		return err
	}
	for _, n := range made.Notes {
		fmt.Fprintln(p.stderr, "note: "+n)
	}
	if len(made.Variables) > 0 {
		fmt.Fprintln(p.stderr, "note: put the secrets into these environment variables: "+strings.Join(made.Variables, ", "))
	}
	if err := made.Validate(); err != nil {
		return wrong{err}
	}
	return nil
}

func (c importCommand) read(p *program) (bridge.Imported, error) {
	switch {
	case c.From != "uns" && c.Secrets != "":
		return bridge.Imported{}, errors.New("--secrets is for uns")
	case c.From != "strimzi" && c.Properties != "":
		return bridge.Imported{}, errors.New("--properties is for strimzi")
	case c.From == "connector" && c.File != "":
		return bridge.Imported{}, errors.New("connector has no file; its environment variables are read")
	case c.From != "connector" && c.File == "":
		return bridge.Imported{}, fmt.Errorf("name the file: linkspan import %s FILE", c.From)
	}
	switch c.From {
	case "uns":
		return bridge.ImportUNS(c.File, c.Secrets, p.environ)
	case "strimzi":
		return bridge.ImportStrimzi(c.File, c.Properties)
	}
	return bridge.ImportConnector(p.environ)
}
