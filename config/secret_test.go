package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
)

// TestSecretIsNotShown prints a configuration in all usual ways.
func TestSecretIsNotShown(t *testing.T) {
	const key = "0123456789abcdef"
	cfg := Config{HTTP: HTTP{APIKey: key, Proxy: key}, API: API{Keys: []Secret{key}}}
	if string(cfg.HTTP.APIKey) != key {
		t.Error("the secret cannot be had by conversion")
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%40v"} {
		for _, value := range []any{cfg, &cfg, cfg.HTTP.APIKey, &cfg.HTTP.APIKey, []Secret{key}, map[Secret]Secret{key: key}} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
	}
	fmt.Fprintln(&out, cfg, cfg.HTTP.APIKey, fmt.Errorf("error: %w %v", os.ErrInvalid, cfg.HTTP.APIKey))
	encoded, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(encoded)
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("message", "key", cfg.HTTP.APIKey, "cfg", cfg, "pointer", &cfg)
	}
	if text := out.String(); strings.Contains(text, key) || strings.Contains(text, fmt.Sprintf("%x", key)) || strings.Contains(text, fmt.Sprintf("%X", key)) {
		t.Errorf("the secret is shown:\n%s", text)
	} else if strings.Count(text, redacted) < 50 {
		t.Errorf("the placeholder is missing:\n%s", text)
	}
}
