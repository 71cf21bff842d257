//go:build !linux && !darwin

package kafka

import "errors"

var errNoEmbedded = errors.New("the embedded broker runs on Linux and macOS only; set kafka.brokers")

func lockFile(string) (unlock func(), err error) { return nil, errNoEmbedded }

func diskFree(string) (int64, error) { return 0, errNoEmbedded }
