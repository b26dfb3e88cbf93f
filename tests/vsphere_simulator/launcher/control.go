package main

import (
	"context"
	"fmt"
	"time"

	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Answer is what the parent hears about one command.
type Answer struct {
	Error  string      `json:"error,omitempty"`
	Result interface{} `json:"result,omitempty"`
}

// Command is one line from the parent: what to do, and what that needs.
type Command struct {
	Do      string
	Plan    *Plan
	Machine string // name
	Task    string // "task-12"
	Percent int32
	Seconds float64
	Text    string
	Yes     bool
	Names   []string
	Bytes   int64
	New     *MachineSettings
}

// TaskShown is a task as the parent sees it.
type TaskShown struct {
	Task      string `json:"task"`
	Method    string `json:"method"`
	Machine   string `json:"machine"`
	Progress  int32  `json:"progress"`
	Cancelled bool   `json:"cancelled"`
}

var commands = map[string]func(*Server, Command) (interface{}, error){
	// Plans for calls to come, and what came.
	"plan":  (*Server).addPlan,
	"clear": func(s *Server, _ Command) (interface{}, error) { return nil, s.clear() },
	"calls": func(s *Server, _ Command) (interface{}, error) { return s.calls, nil },
	// Tasks that are held.
	"await":    (*Server).await,
	"tasks":    func(s *Server, _ Command) (interface{}, error) { return s.held(), nil },
	"progress": onTask(func(t *Task, c Command) { t.progress(c.Percent) }),
	"release":  onTask(func(t *Task, _ Command) { t.finish() }),
	"forget": onTask(func(t *Task, c Command) {
		if c.Yes {
			t.finish() // the work is done, only nobody can ask for it any more
		}
		t.forget()
	}),
	// The account.
	"end sessions": func(s *Server, _ Command) (interface{}, error) { s.endSessions(); return nil, nil },
	"sessions":     func(s *Server, _ Command) (interface{}, error) { return len(sessions()), nil },
	"take privileges": func(s *Server, c Command) (interface{}, error) {
		s.missing = map[string]bool{}
		for _, name := range c.Names {
			s.missing[name] = true
		}
		return nil, nil
	},
	// The inventory, as another administrator or fate would change it.
	"add machine":   (*Server).addMachine,
	"delete":        onMachine(func(vm *VirtualMachine, _ Command) error { return vm.vanish() }),
	"ask":           onMachine(func(vm *VirtualMachine, c Command) error { vm.ask(c.Text); return nil }),
	"tools":         onMachine(func(vm *VirtualMachine, c Command) error { vm.setTools(c.Yes); return nil }),
	"consolidation": onMachine(func(vm *VirtualMachine, c Command) error { vm.needConsolidation(c.Yes); return nil }),
	"deaf guest": onMachine(func(vm *VirtualMachine, c Command) error {
		vm.server.deafGuests[vm.Name] = c.Yes
		return nil
	}),
	"disable": onMachine(func(vm *VirtualMachine, c Command) error {
		vm.update(types.PropertyChange{Name: "disabledMethod", Val: append([]string{}, c.Names...)})
		return nil
	}),
	"connection": onMachine(func(vm *VirtualMachine, c Command) error {
		vm.update(types.PropertyChange{
			Name: "runtime.connectionState", Val: types.VirtualMachineConnectionState(c.Text),
		})
		return nil
	}),
	"independent": onMachine(func(vm *VirtualMachine, c Command) error { return vm.makeIndependent() }),
	"free space":  (*Server).setFreeOf,
	"accessible":  (*Server).setAccessible,
}

func (s *Server) obey(line []byte) Answer {
	var command Command
	if err := decode(line, &command); err != nil {
		return Answer{Error: err.Error()}
	}
	do, known := commands[command.Do]
	if !known {
		return Answer{Error: "no such command: " + command.Do}
	}
	s.world.Lock()
	defer s.world.Unlock()
	result, err := do(s, command)
	if err != nil {
		return Answer{Error: err.Error()}
	}
	return Answer{Result: result}
}

// addPlan takes a plan in; clear forgets them all.
func (s *Server) addPlan(command Command) (interface{}, error) {
	if command.Plan == nil {
		return nil, fmt.Errorf("no plan")
	}
	if err := command.Plan.check(); err != nil {
		return nil, err
	}
	s.plans = append(s.plans, command.Plan)
	return nil, nil
}

// clear also takes away what was taken from the account, and ends what is held.
func (s *Server) clear() error {
	s.plans, s.missing, s.deafGuests = nil, map[string]bool{}, map[string]bool{}
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm, ok := entity.(*VirtualMachine)
		if !ok {
			continue
		}
		if vm.Runtime.Question != nil {
			vm.update(types.PropertyChange{Name: "runtime.question", Val: nil})
		}
		if vm.busy != nil && vm.busy.held {
			vm.busy.message = ""
			vm.busy.end(nil, new(types.RequestCanceled))
		}
	}
	return nil
}

func (s *Server) held() []TaskShown {
	shown := []TaskShown{}
	for _, entity := range simulator.Map.All("VirtualMachine") {
		if vm, ok := entity.(*VirtualMachine); ok && vm.busy != nil {
			info := vm.busy.Info
			shown = append(shown, TaskShown{info.Key, info.Name, vm.Name, info.Progress, info.Cancelled})
		}
	}
	return shown
}

// await gives the tasks that are held, as soon as there is one.
func (s *Server) await(command Command) (interface{}, error) {
	over := false
	timer := time.AfterFunc(time.Duration(command.Seconds*float64(time.Second)), func() {
		s.world.Lock()
		defer s.world.Unlock()
		over = true
		s.arrived.Broadcast()
	})
	defer timer.Stop()
	for len(s.held()) == 0 {
		if over {
			return nil, fmt.Errorf("no task came within %g seconds", command.Seconds)
		}
		s.arrived.Wait()
	}
	return s.held(), nil
}

func onTask(do func(*Task, Command)) func(*Server, Command) (interface{}, error) {
	return func(_ *Server, command Command) (interface{}, error) {
		task, ok := simulator.Map.Get(ref{Type: "Task", Value: command.Task}).(*Task)
		if !ok || task.over() {
			return nil, fmt.Errorf("no such task is under way: %q", command.Task)
		}
		do(task, command)
		return nil, nil
	}
}

func onMachine(do func(*VirtualMachine, Command) error) func(*Server, Command) (interface{}, error) {
	return func(s *Server, command Command) (interface{}, error) {
		for _, entity := range simulator.Map.All("VirtualMachine") {
			if vm, ok := entity.(*VirtualMachine); ok && vm.Name == command.Machine {
				return nil, do(vm, command)
			}
		}
		return nil, fmt.Errorf("no machine %q", command.Machine)
	}
}

func (s *Server) addMachine(command Command) (interface{}, error) {
	if command.New == nil {
		return nil, fmt.Errorf("no machine to add")
	}
	if s.there == nil {
		return nil, fmt.Errorf("nowhere to add it")
	}
	return nil, s.makeMachine(context.Background(), s.there, *command.New)
}

// vanish deletes a machine, running or not.
func (vm *VirtualMachine) vanish() error {
	if vm.Runtime.PowerState == types.VirtualMachinePowerStatePoweredOn {
		vm.setPower(types.VirtualMachinePowerStatePoweredOff)
	}
	task, err := object.NewVirtualMachine(vm.server.client, vm.Self).Destroy(context.Background())
	if err != nil {
		return err
	}
	return task.Wait(context.Background())
}

func (vm *VirtualMachine) makeIndependent() error {
	devices := copied(vm.Config.Hardware.Device)
	for i, device := range devices {
		if links := chain(device); links != nil {
			made := chained(device, names(links)).(*types.VirtualDisk)
			made.Backing.(*backing).DiskMode = "independent_persistent"
			devices[i] = made
		}
	}
	vm.setDevices(devices)
	return nil
}

func (s *Server) setFreeOf(command Command) (interface{}, error) {
	store := s.datastore(command.Text)
	if store == nil {
		return nil, fmt.Errorf("no datastore %q", command.Text)
	}
	s.setFree(store, command.Bytes)
	return nil, nil
}

func (s *Server) setAccessible(command Command) (interface{}, error) {
	store := s.datastore(command.Text)
	if store == nil {
		return nil, fmt.Errorf("no datastore %q", command.Text)
	}
	simulator.Map.Update(store, []types.PropertyChange{{Name: "summary.accessible", Val: command.Yes}})
	return nil, nil
}
