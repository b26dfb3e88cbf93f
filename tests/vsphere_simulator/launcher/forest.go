package main

import (
	"github.com/vmware/govmomi/vim25/types"
)

// A machine's snapshots, as vSphere shows them: a list of trees. These functions leave what they are given as it is and
// make new lists along the way to the change, so that an answer on its way out does not change under the writer's hands.

type (
	node   = types.VirtualMachineSnapshotTree
	forest = []types.VirtualMachineSnapshotTree
	ref    = types.ManagedObjectReference
)

// seek gives the node of this reference, or nil.
func seek(trees forest, wanted ref) *node {
	for i := range trees {
		if trees[i].Snapshot == wanted {
			return &trees[i]
		}
		if found := seek(trees[i].ChildSnapshotList, wanted); found != nil {
			return found
		}
	}
	return nil
}

// parentOf gives the parent of a node; nil for a root.
func parentOf(trees forest, wanted ref) *ref {
	for i := range trees {
		for _, child := range trees[i].ChildSnapshotList {
			if child.Snapshot == wanted {
				found := trees[i].Snapshot
				return &found
			}
		}
		if found := parentOf(trees[i].ChildSnapshotList, wanted); found != nil {
			return found
		}
	}
	return nil
}

// depthOf counts the nodes from the root down to this one; 0 when it is not there.
func depthOf(trees forest, wanted ref) int {
	for i := range trees {
		if trees[i].Snapshot == wanted {
			return 1
		}
		if below := depthOf(trees[i].ChildSnapshotList, wanted); below > 0 {
			return below + 1
		}
	}
	return 0
}

// changed gives the forest with one node replaced by others (none, itself renamed, its children).
func changed(trees forest, wanted ref, replace func(node) forest) forest {
	var made forest
	for _, tree := range trees {
		if tree.Snapshot == wanted {
			made = append(made, replace(tree)...)
			continue
		}
		tree.ChildSnapshotList = changed(tree.ChildSnapshotList, wanted, replace)
		made = append(made, tree)
	}
	return made
}

// grown gives the forest with a new node below its parent, or as a root.
func grown(trees forest, parent *ref, added node) forest {
	if parent == nil {
		return append(append(forest{}, trees...), added)
	}
	return changed(trees, *parent, func(above node) forest {
		above.ChildSnapshotList = append(append(forest{}, above.ChildSnapshotList...), added)
		return forest{above}
	})
}

// all gives every reference of a forest, parents before children.
func all(trees forest) []ref {
	var found []ref
	for _, tree := range trees {
		found = append(found, tree.Snapshot)
		found = append(found, all(tree.ChildSnapshotList)...)
	}
	return found
}
