"""What armoflow needs of the operating system: places, processes, descriptors."""
