package trace

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
)

// ring reads what the programs write into a ring buffer, from its start to its close. The programs
// say when somebody is to be woken; what does not wake is read when catchUp asks.
type ring struct {
	reader *ringbuf.Reader
	// handle is called by one goroutine. It may not keep the sample.
	handle func(sample []byte)
	loop   sync.WaitGroup
	// drained gets a word each time that the ring was emptied because somebody asked for it.
	drained chan struct{}
	// failed ended the loop, which closes drained after.
	failed error
}

func newRing(buffer *ebpf.Map, handle func([]byte)) (*ring, error) {
	reader, err := ringbuf.NewReader(buffer)
	if err != nil {
		return nil, err
	}
	r := &ring{reader: reader, handle: handle, drained: make(chan struct{}, 1)}
	r.loop.Go(r.run)
	return r, nil
}

func (r *ring) run() {
	defer close(r.drained)
	var record ringbuf.Record
	for {
		err := r.reader.ReadInto(&record)
		switch {
		case err == nil:
			r.handle(record.RawSample)
		case errors.Is(err, ringbuf.ErrFlushed):
			select {
			case r.drained <- struct{}{}:
			default:
			}
		default:
			r.failed = err
			return
		}
	}
}

// catchUp returns when all that has been written is handled. Only one may call it at a time.
func (r *ring) catchUp(ctx context.Context) error {
	select { // the word for one who did not wait for it
	case <-r.drained:
	default:
	}
	if err := r.reader.Flush(); err != nil {
		return fmt.Errorf("read ring buffer: %w", err)
	}
	select {
	case _, ok := <-r.drained:
		if !ok {
			return fmt.Errorf("read ring buffer: %w", r.failed)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *ring) close() error {
	err := r.reader.Close()
	r.loop.Wait()
	return err
}

// decode reads a header of a fixed size and returns what follows it.
func decode(sample []byte, header any) (rest []byte, ok bool) {
	n, err := binary.Decode(sample, binary.NativeEndian, header)
	if err != nil {
		return nil, false
	}
	return sample[n:], true
}
