"""A laboratory in one machine: hosts in network namespaces, bad links, sick disks, wrong clocks."""
