package integration

import (
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// talkerVar makes this binary one of several programs that talk, most of them over TCP: "serve" answers every connection
// with 2000 bytes once it has read to the end, "call ADDRESS N" makes N connections of 1000 bytes each.
// "spray N" calls itself at N addresses of 127/8, and only connects and closes. These stay until the
// test ends them; "visit ADDRESS N" is a call that does not. "names ADDRESS" serves DNS, and "ask ADDRESS
// NAME N" asks it.
const talkerVar = "SOCKTALLY_TEST_TALKER"

const askBytes, answerBytes = 1000, 2000

func runTalker(talk string) int {
	words := strings.Fields(talk)
	err := fmt.Errorf("%s=%q", talkerVar, talk)
	switch {
	case words[0] == "serve":
		err = talkerServe()
	case words[0] == "spray" && len(words) == 2:
		err = talkerSpray(words[1])
	case words[0] == "visit" && len(words) == 3:
		err = talkerVisit(words[1], words[2])
	case words[0] == "names" && len(words) == 2:
		err = talkerNames(words[1])
	case words[0] == "ask" && len(words) == 4:
		err = talkerAsk(words[1], words[2], words[3])
	case words[0] == "call" && len(words) == 3:
		if err = talkerVisit(words[1], words[2]); err == nil {
			time.Sleep(time.Hour) // until the test ends it
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func talkerServe() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			if _, err := io.Copy(io.Discard, c); err == nil {
				c.Write(make([]byte, answerBytes))
			}
		}()
	}
}

func talkerVisit(address, times string) error {
	n, err := strconv.Atoi(times)
	if err != nil {
		return err
	}
	for range n {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return err
		}
		if _, err := c.Write(make([]byte, askBytes)); err != nil {
			return err
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			return err
		}
		if got, err := io.Copy(io.Discard, c); err != nil || got != answerBytes {
			return fmt.Errorf("%d bytes came back: %w", got, err)
		}
		c.Close()
	}
	fmt.Println("done")
	return nil
}

func talkerSpray(addresses string) error {
	n, err := strconv.Atoi(addresses)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	fmt.Println(port)
	for i := range n {
		c, err := net.Dial("tcp4", fmt.Sprintf("127.%d.%d.%d:%d", 1+i>>16, i>>8&255, i&255, port))
		if err != nil {
			return err
		}
		s, err := l.Accept()
		if err != nil {
			return err
		}
		c.Close()
		s.Close()
	}
	time.Sleep(time.Hour)
	return nil
}

// startTalker starts a talker and returns the first line that it prints: the server's address, or that
// the client is done.
func startTalker(t *testing.T, talk string, env ...string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, append(env, talkerVar+"="+talk), self)
	line := ""
	eventually(t, func() error {
		var ended bool
		if line, _, ended = strings.Cut(p.stdout.String(), "\n"); !ended {
			return fmt.Errorf("the talker %q printed nothing", talk)
		}
		return nil
	})
	return line
}
