// Command bench measures Linkspan on this machine, between a load generator and a Kafka that share its processors: the
// cost of a message in processor time is what to compare, the rates are lower bounds. It writes one table to results/.
//
//	make bench                                   # everything, some minutes
//	cd bench && go run . -run uplink -seconds 3  # what matches
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "producer":
			exit(produce(os.Args[2:]))
			return
		case "spool":
			exit(store(os.Args[2:]))
			return
		case "gateway":
			exit(gateway(os.Args[2:]))
			return
		}
	}
	run := flag.String("run", "", "measure only what matches this regular expression")
	seconds := flag.Float64("seconds", 3, "length of one measurement, after its warm-up")
	rounds := flag.Int("rounds", 3, "how often each is measured; the table shows the median and the range")
	out := flag.String("out", "results/latest.md", "file that takes the table")
	backlog := flag.Float64("backlog", 1, "GB that wait on the disk where a backlog is measured")
	binary := flag.String("binary", "../bin/linkspan", "the Linkspan to measure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	exit(measure(ctx, *run, time.Duration(*seconds*float64(time.Second)), *rounds, *out, *binary, *backlog*1e9))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measure runs the scenarios that match and writes the table.
func measure(ctx context.Context, run string, length time.Duration, rounds int, out, binary string, backlog float64) error {
	match, err := regexp.Compile(run)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "linkspan-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if binary, err = filepath.Abs(binary); err != nil {
		return err
	}
	lab := &lab{ctx: ctx, dir: dir, binary: binary, length: length, backlog: backlog}
	defer lab.close()
	results := map[string][]result{}
	for round := range rounds { // in turn, so that a slow moment of the machine falls on all
		for _, s := range slices.Concat(straight, spooled) {
			if !slices.ContainsFunc(s.rows, match.MatchString) {
				continue
			}
			rs, err := s.run(lab)
			if err != nil {
				return fmt.Errorf("%s: %w", s.rows[0], err)
			}
			for i, name := range s.rows {
				fmt.Fprintf(os.Stderr, "round %d of %d: %s ... %s\n", round+1, rounds, name, rs[i])
				results[name] = append(results[name], rs[i])
			}
		}
	}
	return writeReport(out, results)
}
