package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// layout writes down which files a machine has.
type layout struct {
	vm    *VirtualMachine
	files []types.VirtualMachineFileLayoutExFileInfo
	seen  map[string]bool
}

func (l *layout) file(name string, kind types.VirtualMachineFileLayoutExFileType) int32 {
	key, known := l.vm.keys[name]
	if !known {
		key = int32(len(l.vm.keys))
		l.vm.keys[name] = key
	}
	if !l.seen[name] {
		l.seen[name] = true
		size := l.vm.server.occupied[name]
		l.files = append(l.files, types.VirtualMachineFileLayoutExFileInfo{
			Key: key, Name: name, Type: string(kind), Size: size, UniqueSize: size, Accessible: types.NewBool(true),
		})
	}
	return key
}

func (l *layout) disks(devices []types.BaseVirtualDevice) []types.VirtualMachineFileLayoutExDiskLayout {
	var found []types.VirtualMachineFileLayoutExDiskLayout
	for _, device := range devices {
		links := chain(device)
		if links == nil {
			continue
		}
		disk := types.VirtualMachineFileLayoutExDiskLayout{Key: device.GetVirtualDevice().Key}
		for _, name := range names(links) {
			disk.Chain = append(disk.Chain, types.VirtualMachineFileLayoutExDiskUnit{
				FileKey: []int32{l.file(name, types.VirtualMachineFileLayoutExFileTypeDiskDescriptor)},
			})
		}
		found = append(found, disk)
	}
	return found
}

// relayout writes layoutEx anew, deletes the files that nobody holds any more and charges the datastore for the others.
func (vm *VirtualMachine) relayout() {
	l := &layout{vm: vm, seen: map[string]bool{}}
	l.file(vm.Config.Files.VmPathName, types.VirtualMachineFileLayoutExFileTypeConfig)
	now := types.VirtualMachineFileLayoutEx{Timestamp: time.Now().UTC(), Disk: l.disks(vm.Config.Hardware.Device)}
	for _, each := range all(vm.trees()) {
		snapshot := vm.kept[each]
		data := vm.beside(fmt.Sprintf("-%s.vmsn", each.Value))
		vm.server.putFile(data, stateBytes)
		memory := int32(-1)
		if snapshot.memory {
			file := vm.beside(fmt.Sprintf("-%s.vmem", each.Value))
			vm.server.putFile(file, int64(vm.Config.Hardware.MemoryMB)<<20)
			memory = l.file(file, types.VirtualMachineFileLayoutExFileTypeSnapshotMemory)
		}
		now.Snapshot = append(now.Snapshot, types.VirtualMachineFileLayoutExSnapshotLayout{
			Key:       each,
			DataKey:   l.file(data, types.VirtualMachineFileLayoutExFileTypeSnapshotData),
			MemoryKey: memory,
			Disk:      l.disks(snapshot.devices),
		})
	}
	now.File = l.files
	if vm.LayoutEx != nil {
		for _, file := range vm.LayoutEx.File {
			if !l.seen[file.Name] {
				vm.server.dropFile(file.Name)
			}
		}
	}
	vm.update(types.PropertyChange{Name: "layoutEx", Val: now})
}

func (vm *VirtualMachine) beside(ending string) string {
	return strings.TrimSuffix(vm.Config.Files.VmPathName, ".vmx") + ending
}
