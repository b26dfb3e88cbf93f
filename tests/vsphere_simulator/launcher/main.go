// A vSphere API server for tests and for the demo: the simulator of govmomi (the library that Debian packages), told by
// JSON what to hold. It speaks to one parent over its standard streams and ends when the parent closes them:
//
//	stdin   the first line is a Settings object, every further line a command (control.go)
//	stdout  the first line says where the server listens, every further line answers one command
//
// What the library lacks is in this package: snapshots as vSphere keeps them (forest.go, snapshots.go), tasks that can be
// held, cancelled or forgotten (tasks.go), faults on request (faults.go), privileges (privileges.go).
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"syscall"
)

// The longest line that is read from the parent, in bytes: settings of some thousand machines.
const longestLine = 8 << 20

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "vsphere simulator:", err)
		os.Exit(1)
	}
}

func run() error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(make([]byte, 0, 64<<10), longestLine)
	if !lines.Scan() {
		return fmt.Errorf("no settings on standard input: %v", lines.Err())
	}
	var settings Settings
	if err := decode(lines.Bytes(), &settings); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if !settings.Trace {
		log.SetOutput(io.Discard)
	}
	server, err := newServer(settings)
	if err != nil {
		return err
	}
	defer server.close()

	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	finished := make(chan error, 1)
	answers := json.NewEncoder(os.Stdout)
	if err := answers.Encode(map[string]string{"url": server.url()}); err != nil {
		return err
	}
	go func() {
		for lines.Scan() {
			if err := answers.Encode(server.obey(lines.Bytes())); err != nil {
				finished <- err
				return
			}
		}
		finished <- lines.Err()
	}()
	select {
	case <-ended:
		return nil
	case err := <-finished:
		return err
	}
}
