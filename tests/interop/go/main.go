// A go-libp2p node, driven over stdin and stdout by tests/interop: one JSON document a line each way.
// The documents are those of ../js/node.js.
//
//	interop TOPIC
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pubsub_pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
)

const patience = 10 * time.Second

type document map[string]any

var (
	printing sync.Mutex
	out      = json.NewEncoder(os.Stdout)
)

func say(d document) {
	printing.Lock()
	defer printing.Unlock()
	if err := out.Encode(d); err != nil {
		os.Exit(1) // who drives us is gone
	}
}

type node struct {
	host  host.Host
	topic *pubsub.Topic
	mu    sync.Mutex
	known map[peer.ID]document
}

func main() {
	if err := run(context.Background(), os.Args[1]); err != nil {
		say(document{"error": err.Error()})
		os.Exit(1)
	}
}

func run(ctx context.Context, name string) error {
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.NoTransports,
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.DisableRelay(),
	)
	if err != nil {
		return err
	}
	defer h.Close()
	n := &node{host: h, known: map[peer.ID]document{}}
	if err := n.watchIdentify(); err != nil {
		return err
	}
	h.Network().Notify(&network.NotifyBundle{ConnectedF: func(_ network.Network, c network.Conn) {
		say(document{"connected": c.RemotePeer().String()})
	}})
	// StrictSign: what is unsigned or badly signed is refused, and its sender with it.
	ps, err := pubsub.NewGossipSub(ctx, h, pubsub.WithMessageSignaturePolicy(pubsub.StrictSign))
	if err != nil {
		return err
	}
	if n.topic, err = ps.Join(name); err != nil {
		return err
	}
	if err := n.receive(ctx); err != nil {
		return err
	}
	addrs, err := peer.AddrInfoToP2pAddrs(host.InfoFromHost(h))
	if err != nil {
		return err
	}
	texts := []string{}
	for _, addr := range addrs {
		texts = append(texts, addr.String())
	}
	say(document{"ready": texts, "peer": h.ID().String()})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 8<<20)
	for lines.Scan() {
		var command map[string]string
		if err := json.Unmarshal(lines.Bytes(), &command); err != nil {
			return err
		}
		for verb, argument := range command {
			answer, err := n.do(ctx, verb, argument)
			if err != nil {
				answer = document{"error": verb + ": " + err.Error()}
			}
			say(answer)
		}
	}
	return lines.Err()
}

func (n *node) watchIdentify() error {
	identified, err := n.host.EventBus().Subscribe(new(event.EvtPeerIdentificationCompleted))
	if err != nil {
		return err
	}
	go func() {
		for e := range identified.Out() {
			done := e.(event.EvtPeerIdentificationCompleted)
			addrs := []string{}
			for _, addr := range done.ListenAddrs {
				addrs = append(addrs, addr.String())
			}
			n.mu.Lock()
			n.known[done.Peer] = document{
				"agent": done.AgentVersion, "protocols": done.Protocols, "addrs": addrs,
			}
			n.mu.Unlock()
			say(document{"identified": done.Peer.String()})
		}
	}()
	return nil
}

func (n *node) receive(ctx context.Context) error {
	handler, err := n.topic.EventHandler()
	if err != nil {
		return err
	}
	go func() {
		for {
			e, err := handler.NextPeerEvent(ctx)
			if err != nil {
				return
			}
			if e.Type == pubsub.PeerJoin {
				say(document{"subscribed": e.Peer.String()})
			}
		}
	}()
	subscription, err := n.topic.Subscribe(pubsub.WithBufferSize(4096))
	if err != nil {
		return err
	}
	go func() {
		for {
			message, err := subscription.Next(ctx)
			if err != nil {
				return
			}
			if message.GetFrom() == n.host.ID() {
				continue
			}
			say(document{
				"message": base64.StdEncoding.EncodeToString(message.Data),
				"from":    message.GetFrom().String(),
				"type":    kind(message.Message),
			})
		}
	}()
	return nil
}

func kind(m *pubsub_pb.Message) string {
	if len(m.GetSignature()) > 0 {
		return "signed"
	}
	return "unsigned"
}

func (n *node) do(ctx context.Context, verb, argument string) (document, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch verb {
	case "dial":
		info, err := peer.AddrInfoFromString(argument)
		if err != nil {
			return nil, err
		}
		return document{"dialed": info.ID.String()}, n.host.Connect(ctx, *info)
	case "ping":
		id, err := peer.Decode(argument)
		if err != nil {
			return nil, err
		}
		result := <-ping.Ping(ctx, n.host, id)
		return document{"ping_ms": float64(result.RTT.Microseconds()) / 1e3}, result.Error
	case "identify":
		id, err := peer.Decode(argument)
		if err != nil {
			return nil, err
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		return document{"identify": n.known[id]}, nil
	case "publish":
		data, err := base64.StdEncoding.DecodeString(argument)
		if err != nil {
			return nil, err
		}
		return document{"published": len(n.topic.ListPeers())}, n.topic.Publish(ctx, data)
	}
	return nil, fmt.Errorf("no such command")
}
