# SPDX-License-Identifier: Apache-2.0
"""Start the pose node: ros2 launch nemo_ros pose.launch.py image:=/camera/image_raw ..."""

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare


def generate_launch_description():
    share = FindPackageShare("nemo_ros")
    # A profile of your own wins. Fast DDS up to 2.14 (Humble, Jazzy) reads the second name.
    environment = [
        SetEnvironmentVariable(name, PathJoinSubstitution([share, "config", "fastdds.xml"]))
        for name in ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
        if name not in os.environ
    ]

    def argument(name, default, text):
        return DeclareLaunchArgument(name, default_value=default, description=text)

    return LaunchDescription(
        [
            argument(
                "model",
                PathJoinSubstitution([share, "models", "car"]),
                "folder of a model bundle; several, separated by commas",
            ),
            argument("image", "/camera/image_rect", "image topic"),
            argument("camera_info", "/camera/camera_info", "camera_info topic"),
            argument("detections", "/detections", "topic of the boxes (Detection2DArray)"),
            argument("image_transport", "raw", "raw or compressed"),
            argument(
                "config", PathJoinSubstitution([share, "config", "pose.yaml"]), "parameter file"
            ),
            argument("namespace", "nemo", "namespace: poses arrive on /NAMESPACE/poses"),
            argument("use_sim_time", "false", "take the time from /clock (bags, simulation)"),
            argument("autostart", "true", "configure and activate; false: a manager does"),
            argument("log_level", "info", "debug, info, warn or error"),
            *environment,
            Node(
                package="nemo_ros",
                executable="pose_node",
                name="pose_node",
                namespace=LaunchConfiguration("namespace"),
                output="screen",
                parameters=[
                    LaunchConfiguration("config"),
                    {
                        "model": LaunchConfiguration("model"),
                        "image_transport": LaunchConfiguration("image_transport"),
                        "use_sim_time": LaunchConfiguration("use_sim_time"),
                        "autostart": LaunchConfiguration("autostart"),
                    },
                ],
                remappings=[
                    ("image", LaunchConfiguration("image")),
                    ("camera_info", LaunchConfiguration("camera_info")),
                    ("detections", LaunchConfiguration("detections")),
                ],
                arguments=["--ros-args", "--log-level", LaunchConfiguration("log_level")],
            ),
        ]
    )
