package filelock_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"socktally/internal/filelock"
)

func Example() {
	dir, err := os.MkdirTemp("", "filelock")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "lock")

	unlock, err := filelock.Try(path)
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = filelock.Try(path)
	fmt.Println(errors.Is(err, filelock.ErrHeld))

	unlock()
	unlock, err = filelock.Try(path)
	fmt.Println(err)
	unlock()
	// Output:
	// true
	// <nil>
}
