package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// The traffic by UDP, and of DNS. Each datagram is answered by one of half its size.
const (
	datagrams     = 40
	datagramSize  = 100
	dnsQueries    = 12
	dnsQueriesTCP = 6
)

var udpServers = []string{"127.0.0.1:9000", "[::1]:9000"}

const dnsServer = "127.0.0.1:53"

func serveUDP() error {
	for _, address := range udpServers {
		c, err := net.ListenPacket("udp", address)
		if err != nil {
			return err
		}
		go func() {
			buffer := make([]byte, 2*datagramSize)
			for {
				n, from, err := c.ReadFrom(buffer)
				if err != nil {
					return
				}
				_, _ = c.WriteTo(buffer[:n/2], from)
			}
		}()
	}
	c, err := net.ListenPacket("udp", dnsServer)
	if err != nil {
		return err
	}
	go func() {
		buffer := make([]byte, 512)
		for {
			n, from, err := c.ReadFrom(buffer)
			if err != nil {
				return
			}
			answer(buffer)
			_, _ = c.WriteTo(buffer[:n], from)
		}
	}()
	l, err := net.Listen("tcp", dnsServer)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				message := framedQuery(0)
				for {
					if _, err := io.ReadFull(c, message); err != nil {
						return
					}
					answer(message[2:])
					_, _ = c.Write(message)
				}
			}()
		}
	}()
	return nil
}

// query asks for the address of a.invalid.
func query(id uint16) []byte {
	header := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(header, id)
	return append(header, "\x01a\x07invalid\x00\x00\x01\x00\x01"...)
}

func framedQuery(id uint16) []byte {
	q := query(id)
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)
}

// answer makes an answer of a query: there is no such name.
func answer(message []byte) {
	message[2] |= 0x80
	message[3] = 3
}

// sendUDP sends it all, and waits for each answer.
func sendUDP() error {
	send := func(network, address string, n int, message func(i int) []byte) error {
		c, err := net.Dial(network, address)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(interval))
		buffer := make([]byte, 512)
		for i := range n {
			if _, err := c.Write(message(i)); err != nil {
				return err
			}
			if _, err := c.Read(buffer); err != nil {
				return fmt.Errorf("no answer from %s: %w", address, err)
			}
		}
		return nil
	}
	for _, address := range udpServers {
		if err := send("udp", address, datagrams/len(udpServers), func(int) []byte { return make([]byte, datagramSize) }); err != nil {
			return err
		}
	}
	if err := send("udp", dnsServer, dnsQueries, func(i int) []byte { return query(uint16(i)) }); err != nil {
		return err
	}
	return send("tcp", dnsServer, dnsQueriesTCP, func(i int) []byte { return framedQuery(uint16(i)) })
}
