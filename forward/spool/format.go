package spool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"socktally/metric"
)

// The first line of a spool file has the name and the version of the format. Then there is one line for each sample, a JSON
// object. The last line has the checksum of all lines before it.
const (
	header      = "socktally spool 1\n"
	checksum    = "crc32 %08x\n"
	checksumLen = len("crc32 00000000\n")
)

// stored is one sample as it is written.
type stored struct {
	Name     string        `json:"name"`
	Kind     string        `json:"kind"`
	Value    float64       `json:"value"`
	UnixNano int64         `json:"unix_nano"`
	Interval time.Duration `json:"interval_nano,omitempty"`
	Tags     []string      `json:"tags,omitempty"`
}

func encode(samples []metric.Sample) []byte {
	buf := bytes.NewBufferString(header)
	lines := json.NewEncoder(buf)
	for _, m := range samples {
		// JSON has no NaN and no infinity, but no metric has such values.
		_ = lines.Encode(stored{m.Name, m.Kind.String(), m.Value, m.Time.UnixNano(), m.Interval, m.Tags})
	}
	fmt.Fprintf(buf, checksum, crc32.ChecksumIEEE(buf.Bytes()))
	return buf.Bytes()
}

var (
	errVersion = errors.New("not a spool file of version 1")
	errDamaged = errors.New("damaged spool file")
)

func decode(content []byte) ([]metric.Sample, error) {
	if !bytes.HasPrefix(content, []byte(header)) {
		return nil, errVersion
	}
	end := len(content) - checksumLen
	if end < len(header) || string(content[end:]) != fmt.Sprintf(checksum, crc32.ChecksumIEEE(content[:end])) {
		return nil, errDamaged
	}
	var samples []metric.Sample
	for line := range bytes.Lines(content[len(header):end]) {
		var s stored
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
		m := metric.Sample{Name: s.Name, Value: s.Value, Time: time.Unix(0, s.UnixNano), Interval: s.Interval, Tags: s.Tags}
		if s.Kind == metric.Count.String() {
			m.Kind = metric.Count
		}
		samples = append(samples, m)
	}
	return samples, nil
}
