package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Plan is what the parent wants to happen to the next calls of a method.
type Plan struct {
	Method   string          // as on the wire: CreateSnapshot_Task
	Machine  string          // name, only for calls about this one; empty for all
	Times    int             // so many calls; 0 for all that come until "clear"
	Fault    string          // the wire name of the fault: TaskInProgress
	Fields   json.RawMessage // some of the fault's fields
	Message  string          // the words that go with it
	AtCall   bool            // the call itself raises it, else its task ends with it
	Hold     bool            // the task stays under way until "release" or a cancellation
	Stubborn bool            // ... and cannot be cancelled
	Drop     string          // "before": the connection ends, nothing is done; "after": it is done and nobody hears of it

	used int
}

// planFor gives the plan for this call and counts it; nil without one. Plans about the call itself and plans about its
// task are asked for apart.
func (s *Server) planFor(method string, vm *VirtualMachine, call bool) *Plan {
	for i, plan := range s.plans {
		if plan.Method != method || (plan.AtCall || plan.Drop != "") != call {
			continue
		}
		if plan.Machine != "" && (vm == nil || vm.Name != plan.Machine) {
			continue
		}
		plan.used++
		if plan.Times > 0 && plan.used >= plan.Times {
			s.plans = append(append([]*Plan{}, s.plans[:i]...), s.plans[i+1:]...)
		}
		return plan
	}
	return nil
}

// check finds out early whether the fault exists and its fields fit.
func (p *Plan) check() error {
	if p.Method == "" {
		return fmt.Errorf("a plan needs a method")
	}
	if p.Fault == "" {
		if p.Hold || p.Drop == "before" || p.Drop == "after" {
			return nil
		}
		return fmt.Errorf("a plan needs a fault, hold or drop")
	}
	_, err := p.make(ref{Type: "VirtualMachine", Value: "vm-0"})
	return err
}

func (p *Plan) fault(vm *VirtualMachine) types.BaseMethodFault {
	about := ref{Type: "Folder", Value: "group-d1"}
	if vm != nil {
		about = vm.Self
	}
	made, _ := p.make(about) // checked when the plan came
	return made
}

func (p *Plan) make(about ref) (types.BaseMethodFault, error) {
	kind, known := types.TypeFunc()(p.Fault)
	if !known {
		return nil, fmt.Errorf("vSphere has no fault %q", p.Fault)
	}
	value := reflect.New(kind)
	made, ok := value.Interface().(types.BaseMethodFault)
	if !ok {
		return nil, fmt.Errorf("%q is no fault", p.Fault)
	}
	complete(value.Elem(), about)
	if len(p.Fields) > 0 {
		if err := json.Unmarshal(p.Fields, made); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// complete fills what a fault must have on the wire: clients refuse one without its references or with an empty name
// where one of a list is due.
func complete(value reflect.Value, about ref) {
	for i := 0; i < value.NumField(); i++ {
		field, tag := value.Field(i), value.Type().Field(i).Tag.Get("xml")
		switch {
		case value.Type().Field(i).Anonymous:
			complete(field, about)
		case strings.Contains(tag, "omitempty"):
		case field.Type() == reflect.TypeOf(ref{}):
			field.Set(reflect.ValueOf(fitting(value.Type().Field(i).Name, about)))
		case field.Type() == reflect.TypeOf(types.LocalizedMethodFault{}):
			field.Set(reflect.ValueOf(types.LocalizedMethodFault{
				Fault:            &types.DeviceNotSupported{Device: "SCSI controller 0"},
				LocalizedMessage: "The device SCSI controller 0 is shared.",
			}))
		case field.Type() == reflect.TypeOf(types.VirtualMachinePowerState("")):
			field.SetString(string(types.VirtualMachinePowerStateSuspended))
		case field.Kind() == reflect.String && field.Type().Name() == "string":
			field.SetString("simulated")
		}
	}
}

// fitting gives a reference for a field, whose name tells what it refers to.
func fitting(name string, about ref) ref {
	kind := map[string]string{"Host": "HostSystem", "Datastore": "Datastore", "Ds": "Datastore"}[name]
	if name == "Task" {
		return ref{Type: "Task", Value: "task-0"}
	}
	if found := simulator.Map.Any(kind); kind != "" && found != nil {
		return found.Reference()
	}
	return about
}

// told gives the sentence that goes with a fault.
func told(fault types.BaseMethodFault) string {
	name := reflect.TypeOf(fault).Elem().Name()
	if sentence, known := sentences[name]; known {
		return sentence
	}
	return "The operation failed: " + name + "."
}

var sentences = map[string]string{
	"ApplicationQuiesceFault":         "An error occurred while quiescing the virtual machine.",
	"ConcurrentAccess":                "The resource was changed by somebody else meanwhile.",
	"FileFault":                       "A file could not be accessed.",
	"FileLocked":                      "The file is locked by another process.",
	"FileNotFound":                    "The file was not found.",
	"InsufficientResourcesFault":      "There are not enough resources for the operation.",
	"InvalidPowerState":               "The operation is not possible in the present power state.",
	"ManagedObjectNotFound":           "The object has been deleted or was never completely made.",
	"MemorySnapshotOnIndependentDisk": "A snapshot with memory is not possible with an independent disk.",
	"NoDiskSpace":                     "There is no space left on the datastore.",
	"NoPermission":                    "Permission for the operation was denied.",
	"NotAuthenticated":                "The session is not authenticated.",
	"NotFound":                        "It was not found.",
	"RequestCanceled":                 "The task was cancelled by a user.",
	"SnapshotFault":                   "An error occurred while taking the snapshot.",
	"TaskInProgress":                  "Another task is already in progress.",
	"TooManySnapshotLevels":           "There are too many snapshots in a row.",
	"ToolsUnavailable":                "VMware Tools are not running in the guest.",
}
