"""TODO absorbed"""
