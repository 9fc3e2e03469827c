"""What stands for rows: few weighted rows a cluster, few weighted subjects a pattern of visits."""
