// Command gendocs writes the documentation that is made from the code: metadata.csv, docs/metrics.md, the tables in
// README.md and docs/flow-metrics.md, and in packaging/ the man page, the completions and the sample settings. Run it in the
// top folder of the repository.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := generate("."); err != nil {
		fmt.Fprintf(os.Stderr, "gendocs: %v\n", err)
		os.Exit(1)
	}
}

// generate writes the files in the repository at root.
func generate(root string) error {
	files, err := render(root)
	if err != nil {
		return err
	}
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}
