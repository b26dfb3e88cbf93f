package main

import (
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// What the files of a snapshot occupy, in bytes. Made up: nothing is written to these disks.
const (
	deltaBytes = 16 << 20
	stateBytes = 28 << 10
	// A thin disk holds a quarter of what it could.
	thinPart = 4
)

type backing = types.VirtualDiskFlatVer2BackingInfo

func copied(devices []types.BaseVirtualDevice) []types.BaseVirtualDevice {
	return append([]types.BaseVirtualDevice{}, devices...)
}

// chain gives the backings of a disk, the base first; nil for what is no disk of ours.
func chain(device types.BaseVirtualDevice) []*backing {
	disk, ok := device.(*types.VirtualDisk)
	if !ok {
		return nil
	}
	var found []*backing
	for top, _ := disk.Backing.(*backing); top != nil; top = top.Parent {
		found = append([]*backing{top}, found...)
	}
	return found
}

// chained gives the disk with other files below it, the base first.
func chained(device types.BaseVirtualDevice, files []string) types.BaseVirtualDevice {
	disk := *device.(*types.VirtualDisk)
	var top *backing
	for _, file := range files {
		next := *disk.Backing.(*backing)
		next.FileName, next.Parent = file, top
		top = &next
	}
	disk.Backing = top
	return &disk
}

func names(links []*backing) []string {
	var found []string
	for _, link := range links {
		found = append(found, link.FileName)
	}
	return found
}

// independent disks are left out of snapshots.
func independent(device types.BaseVirtualDevice) bool {
	links := chain(device)
	return len(links) > 0 && strings.HasPrefix(links[0].DiskMode, "independent")
}

func (vm *VirtualMachine) hasIndependentDisk() bool {
	for _, device := range vm.Config.Hardware.Device {
		if independent(device) {
			return true
		}
	}
	return false
}

func (vm *VirtualMachine) setDevices(devices []types.BaseVirtualDevice) {
	vm.update(types.PropertyChange{Name: "config.hardware.device", Val: devices})
}

// nameDisks gives each disk its uuid, which stays the same however long its chain grows, and takes down its size.
func (vm *VirtualMachine) nameDisks() {
	for _, device := range vm.Config.Hardware.Device {
		links := chain(device)
		if links == nil {
			continue
		}
		disk := device.(*types.VirtualDisk)
		if disk.CapacityInBytes == 0 {
			disk.CapacityInBytes = disk.CapacityInKB * 1024
		}
		base := links[0].FileName
		for _, link := range links {
			link.Uuid = uuid.NewSHA1(uuid.NameSpaceOID, []byte(base)).String()
		}
		vm.server.capacity[base] = disk.CapacityInBytes
		if _, known := vm.server.occupied[base]; !known {
			vm.server.occupied[base] = disk.CapacityInBytes / thinPart
		}
	}
}

// branchDisks makes these the machine's disks, with a new delta file on top of each.
func (vm *VirtualMachine) branchDisks(from []types.BaseVirtualDevice) {
	devices := copied(from)
	for i, device := range devices {
		links := chain(device)
		if links == nil || independent(device) {
			continue
		}
		vm.deltas++
		base := strings.TrimSuffix(links[0].FileName, ".vmdk")
		delta := fmt.Sprintf("%s-%06d.vmdk", base, vm.deltas)
		vm.server.putFile(delta, deltaBytes)
		devices[i] = chained(device, append(names(links), delta))
	}
	vm.setDevices(devices)
}

// mergeDisks lets go of the disks that a snapshot holds: where one file alone continues from them, it goes into them.
func (vm *VirtualMachine) mergeDisks(snapshot *VirtualMachineSnapshot) {
	holders := [][]types.BaseVirtualDevice{copied(vm.Config.Hardware.Device)}
	var others []*VirtualMachineSnapshot
	for _, each := range vm.kept {
		if each != snapshot {
			others = append(others, each)
			holders = append(holders, copied(each.devices))
		}
	}
	for _, device := range snapshot.devices {
		links := names(chain(device))
		if len(links) == 0 || independent(device) {
			continue
		}
		mergeAfter(vm.server, holders, links)
	}
	vm.setDevices(holders[0])
	for i, each := range others {
		each.devices = holders[i+1]
	}
}

func mergeAfter(s *Server, holders [][]types.BaseVirtualDevice, links []string) {
	frozen := links[len(links)-1]
	next := map[string]bool{}
	for _, devices := range holders {
		for _, device := range devices {
			files := names(chain(device))
			for i, file := range files {
				if file == frozen && i+1 < len(files) {
					next[files[i+1]] = true
				} else if file == frozen {
					return // another one holds the same disk
				}
			}
		}
	}
	if len(next) != 1 {
		return
	}
	for merged := range next {
		s.occupied[frozen] += s.occupied[merged]
		for _, devices := range holders {
			for i, device := range devices {
				if files := names(chain(device)); contains(files, merged) {
					devices[i] = chained(device, without(files, merged))
				}
			}
		}
	}
}

func contains(texts []string, wanted string) bool {
	for _, text := range texts {
		if text == wanted {
			return true
		}
	}
	return false
}

func without(texts []string, unwanted string) []string {
	var left []string
	for _, text := range texts {
		if text != unwanted {
			left = append(left, text)
		}
	}
	return left
}

// checkDisks looks at the disks that a reconfiguration adds: one that exists has the size it has, one that a running
// machine uses is locked. The size of a disk with snapshots cannot change.
func (vm *VirtualMachine) checkDisks(changes []types.BaseVirtualDeviceConfigSpec) types.BaseMethodFault {
	for i, change := range changes {
		spec := change.GetVirtualDeviceConfigSpec()
		disk, ok := spec.Device.(*types.VirtualDisk)
		if !ok {
			continue
		}
		info, ok := disk.Backing.(*backing)
		if !ok {
			continue
		}
		if needed := needsForDisk(spec); vm.server.missing[needed] {
			return &types.NoPermission{Object: vm.Self, PrivilegeId: needed}
		}
		switch {
		case spec.Operation == types.VirtualDeviceConfigSpecOperationEdit && len(vm.kept) > 0:
			return &types.InvalidDeviceOperation{InvalidDeviceSpec: types.InvalidDeviceSpec{DeviceIndex: int32(i)}}
		case spec.Operation == types.VirtualDeviceConfigSpecOperationAdd && spec.FileOperation == "":
			disk.CapacityInBytes = vm.server.capacity[info.FileName]
			disk.CapacityInKB = disk.CapacityInBytes / 1024
			if user := vm.server.runningUser(info.FileName); user != nil {
				return &types.FileLocked{FileFault: types.FileFault{File: info.FileName}}
			}
		}
	}
	return nil
}

func (s *Server) runningUser(file string) *VirtualMachine {
	for _, entity := range simulator.Map.All("VirtualMachine") {
		vm, ok := entity.(*VirtualMachine)
		if !ok || vm.Runtime.PowerState != types.VirtualMachinePowerStatePoweredOn {
			continue
		}
		for _, device := range vm.Config.Hardware.Device {
			if contains(names(chain(device)), file) {
				return vm
			}
		}
	}
	return nil
}
