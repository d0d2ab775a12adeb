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

// ring reads a ring buffer in a goroutine until close. The programs decide when they wake this goroutine. What they
// write without a wakeup is read at the next wakeup or at catchUp.
type ring struct {
	reader *ringbuf.Reader
	// handle is called for each sample, by one goroutine. It must not keep the sample.
	handle func(sample []byte)
	loop   sync.WaitGroup
	// drained gets a value when the ring buffer was emptied for catchUp. It is closed when the loop ends.
	drained chan struct{}
	// failed is the error that ended the loop. It is set before drained is closed.
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

// catchUp returns when all samples so far are handled. It must not be called concurrently.
func (r *ring) catchUp(ctx context.Context) error {
	select { // remove the value for an earlier call whose context ended first
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

// decode reads a header of a fixed size and returns the rest.
func decode(sample []byte, header any) (rest []byte, ok bool) {
	n, err := binary.Decode(sample, binary.NativeEndian, header)
	if err != nil {
		return nil, false
	}
	return sample[n:], true
}
