import numpy as np
def relu(x):
    """Task 1 (10 points). x."""
    ### BEGIN SOLUTION
    return np.maximum(x, 0)
    ### END SOLUTION
def neg(x):
    """Task 2 (10 points). x."""
    ### BEGIN SOLUTION
    return -x
    ### END SOLUTION
