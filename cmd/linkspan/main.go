// Linkspan joins devices that speak MQTT to Apache Kafka, both ways. This is its command line.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/linkspan/linkspan/bridge"
)

// version is set when a release is built.
var version = ""

// What the process ends with.
const (
	exitFailed = 1 // something did not work
	exitWrong  = 2 // the configuration or the command line is wrong
)

const description = `Linkspan joins MQTT devices to Apache Kafka, both ways. A device gets its acknowledgement when its message is stored in Kafka, or, while that is away, on the local disk.

Try it without Kafka and without a file:

    linkspan run
    mosquitto_sub -t 'sensors/#' -v
    mosquitto_pub -t sensors/hall-1/t7/temp -m 21.5 -q 1

With a configuration, see what it means before it runs:

    linkspan check -c linkspan.yaml
    linkspan check -c linkspan.yaml --connect
    linkspan explain -c linkspan.yaml sensors/hall-1/t7/temp
    linkspan run -c linkspan.yaml

When something does not get through, look at what waits, and at what nobody took:

    linkspan spool status -c linkspan.yaml
    linkspan deadletter ls -c linkspan.yaml

Every key of the file can be set by a variable too: LINKSPAN_KAFKA_BROKERS=kafka-1:9092,kafka-2:9092 is kafka.brokers.
`

// program is what commands are run with.
type program struct {
	stdout, stderr io.Writer
	environ        []string
	terminal       io.Reader // to ask a person on; nil: there is none
}

type commandLine struct {
	Run        runCommand     `cmd:"" help:"Run the bridge until it is told to stop."`
	Check      checkCommand   `cmd:"" help:"Validate the configuration, and with --connect the brokers too."`
	Explain    explainCommand `cmd:"" help:"Show which route takes a topic, and what comes out on the other side."`
	Spool      spoolCommand   `cmd:"" help:"Look at what waits on the disk for Kafka, take it out, or drop it."`
	Deadletter letterCommand  `cmd:"" help:"Look at the messages that nobody took, and send them again."`
	Import     importCommand  `cmd:"" help:"Write a configuration for what connector, the UNS Kafka mapper or the Strimzi MQTT bridge is told."`
	Pub        pubCommand     `cmd:"" help:"Publish to a broker, to try it."`
	Sub        subCommand     `cmd:"" help:"Print what a broker publishes."`
	Version    versionCommand `cmd:"" help:"Print the version."`
	Completion completion     `cmd:"" help:"Print a completion script for a shell."`
}

// configFlag is shared by the commands that read a configuration.
type configFlag struct {
	Profile string `enum:",connector" default:"" placeholder:"connector" help:"Take the place of another program: read its settings where it does, in place of a file. connector: its environment variables."`
	Config  string `short:"c" placeholder:"FILE" help:"The configuration file. Default: the one that LINKSPAN_CONFIG names, or else none, and an embedded Kafka is started."`
}

// load reads the configuration, from nowhere but the environment if no file is named. It returns what is different from the
// program whose profile was asked for.
func (c *configFlag) load(p *program) (cfg bridge.Config, notes []string, err error) {
	if c.Profile != "" {
		if c.Config != "" {
			return cfg, nil, wrong{fmt.Errorf("--profile %s takes the place of --config; choose one", c.Profile)}
		}
		if cfg, notes, err = bridge.LoadProfile(c.Profile, p.environ); err != nil {
			return cfg, nil, wrong{err}
		}
		return cfg, notes, nil
	}
	for _, e := range p.environ {
		if name, ok := strings.CutPrefix(e, bridge.EnvConfig+"="); ok && c.Config == "" {
			c.Config = name
		}
	}
	if cfg, err = bridge.Load(c.Config, p.environ); err != nil {
		return cfg, nil, wrong{err}
	}
	return cfg, nil, nil
}

func main() {
	p := &program{stdout: os.Stdout, stderr: os.Stderr, environ: os.Environ()}
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		p.terminal = os.Stdin
	}
	os.Exit(execute(p, os.Args[1:]))
}

// execute runs one command line and returns the code to exit with.
func execute(p *program, args []string) (code int) {
	var line commandLine
	parser := kong.Must(&line,
		kong.Name("linkspan"),
		kong.Description(description),
		kong.Writers(p.stdout, p.stderr),
		kong.Bind(p),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
		kong.Exit(func(code int) { panic(exit(code)) }), // --help ends here
	)
	defer func() {
		if e, ok := recover().(exit); ok {
			code = int(e)
		}
	}()
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(p.stderr, "linkspan: %v\nTry: %s --help\n", err, meant(err))
		return exitWrong
	}
	return p.report(ctx.Run(parser))
}

// meant returns the command that a command line which is wrong was for, as far as it was understood.
func meant(err error) string {
	name := "linkspan"
	if e := (*kong.ParseError)(nil); errors.As(err, &e) {
		for _, step := range e.Context.Path {
			if step.Command != nil {
				name = step.Command.FullPath()
			}
		}
	}
	return name
}

// exit is how --help leaves the parser.
type exit int

// wrong is an error in what the user wrote.
type wrong struct{ error }

func (w wrong) Unwrap() error { return w.error }

// report prints an error and returns the code to exit with.
func (p *program) report(err error) int {
	if err == nil {
		return 0
	}
	for l := range strings.Lines(err.Error()) {
		fmt.Fprintln(p.stderr, "linkspan: "+strings.TrimSuffix(l, "\n"))
	}
	if w := (wrong{}); errors.As(err, &w) {
		return exitWrong
	}
	return exitFailed
}

type versionCommand struct{}

func (versionCommand) Run(p *program) error {
	_, err := fmt.Fprintf(p.stdout, "linkspan %s %s %s/%s\n", versionText(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

// versionText is the version that the build was given, or what Go knows of the source.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// quiet is a log for commands that answer a person: what goes wrong is in their answer.
func (p *program) quiet() *slog.Logger {
	return bridge.NewLogger(bridge.LogConfig{Level: "error", Format: "text"}, p.stderr)
}
