package bridge

import (
	"io"
	"log/slog"
)

// LevelTrace is below the levels that slog has names for.
const LevelTrace = slog.LevelDebug - 4

// levels are the names that log levels have in the configuration, and in what is logged.
func levels() map[string]slog.Level {
	return map[string]slog.Level{
		"trace": LevelTrace, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
	}
}

// NewLogger returns a logger that writes to w what cfg, a valid configuration, asks for.
func NewLogger(cfg LogConfig, w io.Writer) *slog.Logger {
	options := slog.HandlerOptions{
		Level: levels()[cfg.Level],
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if l, ok := a.Value.Any().(slog.Level); ok && l == LevelTrace && len(groups) == 0 {
				a.Value = slog.StringValue("TRACE")
			}
			return a
		},
	}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, &options))
	}
	return slog.New(slog.NewTextHandler(w, &options))
}
