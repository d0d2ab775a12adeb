package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	askedServer = "127.0.0.1:8081"
	api         = "127.0.0.1:8127"
	question    = "http://" + api + "/api/v2/network/connections/aggregate?group_by=server_port&tags=server_port:8081"
	hanging     = 2 * time.Minute
)

// daemonEnv is what socktally is told beside its arguments.
var daemonEnv = []string{"DD_HOSTNAME=guest", "SOCKTALLY_STATE_DIR=/state"}

// read has socktally once read the memory of TCP, while as much of it is in use before as after.
func (r *result) read() error {
	r.PageSize = os.Getpagesize()
	close, err := fillReceiver()
	if err != nil {
		return err
	}
	defer close()
	for deadline := time.Now().Add(hanging); ; {
		before, err := memoryPages()
		if err != nil {
			return err
		}
		once := exec.Command(socktally, "once", "--env-file", os.DevNull, "--forward", "stdout")
		once.Env = daemonEnv
		out, err := once.CombinedOutput()
		if err != nil {
			return fmt.Errorf("once: %w: %s", err, out)
		}
		after, err := memoryPages()
		if err != nil {
			return err
		}
		if before == after {
			r.MemoryPages = before
			return r.readMemory(string(out))
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the memory of TCP changes all the time: %d pages, then %d", before, after)
		}
	}
}

// readMemory finds sockstat.tcp.mem among samples, one a line, as DogStatsD writes them.
func (r *result) readMemory(samples string) error {
	for line := range strings.Lines(samples) {
		if rest, found := strings.CutPrefix(line, "sockstat.tcp.mem:"); found {
			value, _, _ := strings.Cut(rest, "|")
			var err error
			r.MemoryKiB, err = strconv.ParseFloat(value, 64)
			return err
		}
	}
	return fmt.Errorf("once printed no sockstat.tcp.mem: %s", samples)
}

// memoryPages is how many pages all sockets of TCP have, as the kernel says.
func memoryPages() (int, error) {
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if words[0] == "TCP:" {
			return strconv.Atoi(words[len(words)-1]) // "... mem 3"
		}
	}
	return 0, fmt.Errorf("no TCP in /proc/net/sockstat: %s", text)
}

// fillReceiver has a connection hold what nobody reads.
func fillReceiver() (close func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(c, zeros{})
	return func() { c.Close(); l.Close() }, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// ask runs a daemon, sends longUp bytes by a connection that stays open and is answered by one byte, and
// asks the daemon's API for it.
func (r *result) ask() error {
	daemon := exec.Command(socktally, "run", "--env-file", os.DevNull, "--forward", "stdout", "--listen", api)
	daemon.Env = daemonEnv
	log, err := daemon.StderrPipe()
	if err != nil {
		return err
	}
	if err := daemon.Start(); err != nil {
		return err
	}
	defer func() { _ = daemon.Process.Kill() }()
	var said bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(log, &said))
	for !strings.Contains(lines.Text(), "flows are counted") {
		if !lines.Scan() {
			return fmt.Errorf("run printed %s", said.String())
		}
	}
	go func() {
		for lines.Scan() {
		}
	}()
	close, err := sendAsked()
	if err != nil {
		return err
	}
	defer close()
	for deadline := time.Now().Add(hanging); r.Asked["bytes_sent_by_client"] != longUp && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if r.Asked, err = answerOfAPI(); err != nil {
			r.AskedError = err.Error() // it may not listen yet
		}
	}
	if err := daemon.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return daemon.Wait()
}

func sendAsked() (close func(), err error) {
	l, err := net.Listen("tcp", askedServer)
	if err != nil {
		return nil, err
	}
	client, err := net.Dial("tcp", askedServer)
	if err != nil {
		return nil, err
	}
	server, err := l.Accept()
	if err != nil {
		return nil, err
	}
	received := make(chan error, 1)
	go func() {
		_, err := io.CopyN(io.Discard, server, longUp)
		received <- err
	}()
	if _, err := client.Write(make([]byte, longUp)); err != nil {
		return nil, err
	}
	if err := <-received; err != nil {
		return nil, err
	}
	if _, err := server.Write([]byte{1}); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		return nil, err
	}
	return func() { client.Close(); server.Close(); l.Close() }, nil
}

// answerOfAPI is the numbers of the one row.
func answerOfAPI() (map[string]float64, error) {
	response, err := http.Get(question)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data []struct{ Attributes map[string]any }
	}
	if err := json.Unmarshal(text, &answer); err != nil || response.StatusCode != http.StatusOK || len(answer.Data) != 1 {
		return nil, fmt.Errorf("%s: %s", response.Status, text)
	}
	numbers := map[string]float64{}
	for name, value := range answer.Data[0].Attributes {
		if n, ok := value.(float64); ok {
			numbers[name] = n
		}
	}
	return numbers, nil
}
