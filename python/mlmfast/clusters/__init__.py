"""V, X and Z by cluster; whitening, draws, blocks of large clusters."""
